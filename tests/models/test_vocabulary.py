"""Both ends of a model: the same numbers and gradients as the plain way, for less memory."""

import pytest
import torch
from torch import nn
from toys import tiny_model

from preceptor.functional import entropy, token_logprobs
from preceptor.models import vocabulary
from preceptor.models.load import trunk
from preceptor.models.precision import precision
from preceptor.models.vocabulary import embedded, head_logits, head_logprobs

N = 40


def states_and_tokens(model, scale=1.0):
    size, width = model.get_output_embeddings().weight.shape
    generator = torch.Generator().manual_seed(5)
    states = scale * torch.randn(N, width, generator=generator)
    return states.requires_grad_(), torch.randint(0, size - 4, (N,), generator=generator)


def gradients(model, loss, states):
    model.zero_grad()
    states.grad = None
    loss.backward()
    head = model.get_output_embeddings()
    return [states.grad.clone(), *(p.grad.clone() for p in head.parameters())]


@pytest.fixture(params=["plain", "bias", "padded vocabulary", "many chunks"])
def model(request, monkeypatch):
    model = tiny_model()
    head = model.get_output_embeddings()
    if request.param == "bias":
        head.bias = nn.Parameter(torch.randn(head.out_features))
    if request.param == "padded vocabulary":
        model.config.num_known_tokens = head.out_features - 3
    if request.param == "many chunks":
        monkeypatch.setattr(vocabulary, "CHUNK_BYTES", 7 * 4 * head.out_features)
    return model


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_numbers_and_gradients_are_those_of_whole_logits(model, temperature):
    states, tokens = states_and_tokens(model)
    weights = torch.linspace(-1, 1, N)
    logits = head_logits(model, states)[None]
    plain = token_logprobs(logits, tokens[None], temperature)[0]
    found, entropies = head_logprobs(model, states, tokens, temperature, with_entropy=True)
    torch.testing.assert_close(found, plain, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        entropies, entropy(logits.detach(), temperature)[0], atol=1e-5, rtol=1e-5
    )
    assert not entropies.requires_grad
    expected = gradients(model, (plain * weights).sum(), states)
    for new, old in zip(gradients(model, (found * weights).sum(), states), expected, strict=True):
        torch.testing.assert_close(new, old, atol=1e-6, rtol=1e-5)


def test_the_scale_of_a_loss_reaches_the_gradient(model):
    states, tokens = states_and_tokens(model)
    once = gradients(model, head_logprobs(model, states, tokens)[0].sum(), states)
    thrice = gradients(model, 3 * head_logprobs(model, states, tokens)[0].sum(), states)
    for small, large in zip(once, thrice, strict=True):
        torch.testing.assert_close(3 * small, large, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_under_autocast_numbers_are_fp32s_and_gradients_nearly(scale):
    """At a scale of 100 tokens are nearly sure, and 1 - p has to keep its digits."""
    model = tiny_model()
    states, _ = states_and_tokens(model, scale)
    tokens = head_logits(model, states).argmax(-1)
    exact = gradients(model, head_logprobs(model, states, tokens)[0].sum(), states)
    with precision("bf16"):
        low, _ = head_logprobs(model, states, tokens)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, head_logprobs(model, states, tokens)[0], atol=0, rtol=0)
    for new, old in zip(gradients(model, low.sum(), states), exact, strict=True):
        assert (new - old).norm() < 0.01 * old.norm()


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_no_tensor_of_tokens_by_vocabulary_is_held_in_fp32(dtype, monkeypatch):
    model = tiny_model()
    width = model.get_output_embeddings().out_features
    monkeypatch.setattr(vocabulary, "CHUNK_BYTES", 3 * 4 * width)
    states, tokens = states_and_tokens(model)
    held, made, plain = [], [], vocabulary._logits
    monkeypatch.setattr(
        vocabulary, "_logits", lambda *given: made.append(plain(*given)) or made[-1]
    )
    with (
        precision(dtype),
        torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t),
    ):
        found, _ = head_logprobs(model, states, tokens, with_entropy=True)
    found.sum().backward()
    assert max(len(logits) for logits in made) == 3
    assert held
    assert not [t for t in held if t.numel() >= N * width and t.dtype == torch.float32]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_pass_without_gradients_keeps_nothing(dtype, monkeypatch):
    model = tiny_model()
    states, tokens = states_and_tokens(model)
    expected, _ = head_logprobs(model, states, tokens)
    monkeypatch.setattr(vocabulary, "_slope", None)
    with torch.no_grad(), precision(dtype):
        found, entropies = head_logprobs(model, states, tokens)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
    assert not entropies.any()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature):
    model = tiny_model()
    with pytest.raises(ValueError, match="temperature is"):
        head_logprobs(model, *states_and_tokens(model), temperature)


def losses(model, ids, vectors):
    """A loss that reaches the table from both ends where the head is tied to it."""
    states = trunk(model)(inputs_embeds=vectors, use_cache=False).last_hidden_state
    return head_logprobs(model, states.flatten(0, 1), ids.flatten())[0].sum()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padding_idx", [None, 7])
def test_the_table_learns_what_pytorchs_own_embedding_teaches_it(tied, padding_idx):
    model = tiny_model()
    table = model.get_input_embeddings()
    head = model.get_output_embeddings()
    head.weight = table.weight if tied else nn.Parameter(head.weight.detach().clone())
    table.padding_idx = padding_idx
    ids = torch.tensor([[7, 8, 9, 8], [7, 7, 10, 11]])
    model.zero_grad()
    for _ in range(2):
        losses(model, ids, table(ids)).backward()
    expected = table.weight.grad.clone()
    model.zero_grad()
    for _ in range(2):  # two microbatches
        losses(model, ids, embedded(model, ids)).backward()
    torch.testing.assert_close(table.weight.grad, expected, atol=1e-6, rtol=1e-5)


def test_a_frozen_table_learns_nothing():
    model = tiny_model()
    model.requires_grad_(False)
    assert not embedded(model, torch.tensor([[6, 7]])).requires_grad


def test_an_embedding_that_does_more_than_look_up_is_asked_itself():
    class Scaled(nn.Embedding):
        def forward(self, ids):
            return 3 * super().forward(ids)

    model = tiny_model()
    plain = model.get_input_embeddings()
    scaled = Scaled(plain.num_embeddings, plain.embedding_dim)
    scaled.weight = plain.weight
    model.set_input_embeddings(scaled)
    ids = torch.tensor([[6, 7]])
    torch.testing.assert_close(embedded(model, ids), 3 * plain(ids))
