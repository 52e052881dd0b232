"""Both ends of a model: the same numbers and gradients as the plain way, for less memory."""

import copy

import pytest
import torch
from torch import nn
from toys import END, PAD, WORDS, tiny_model, tiny_tokenizer
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    HyperCLOVAXConfig,
    RecurrentGemmaConfig,
)

from preceptor.errors import DataError
from preceptor.functional import entropy, token_logprobs
from preceptor.generation import row_uniforms, sample
from preceptor.models import vocabulary
from preceptor.models.forward import hidden_states, make_rows, response_logprobs
from preceptor.models.load import load_policy, save_model, trunk
from preceptor.models.precision import precision
from preceptor.models.vocabulary import embedded, head_logits, head_logprobs

N = 40


@pytest.fixture(params=["kernels", "torch"], autouse=True)
def with_and_without_kernels(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(vocabulary, "takes", lambda *_: False)


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
    real = vocabulary._numbers
    kept = []
    monkeypatch.setattr(vocabulary, "_numbers", lambda *a: kept.append(a[2]) or real(*a))
    with torch.no_grad(), precision(dtype):
        found, entropies = head_logprobs(model, states, tokens)
    assert kept and set(kept) == {None}
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


SHAPE = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": END,
    "pad_token_id": PAD,
}
FINISHED = {
    "granite": GraniteConfig(logits_scaling=8.0, embedding_multiplier=12.0, **SHAPE),
    "cohere": CohereConfig(logit_scale=0.0625, **SHAPE),
    "gemma2": Gemma2Config(
        final_logit_softcapping=3.0, attn_logit_softcapping=0.5, sliding_window=4, **SHAPE
    ),
    "gemma3": Gemma3TextConfig(final_logit_softcapping=3.0, sliding_window=4, **SHAPE),
}
"""Models that do more with the head's products: a factor, or a bound."""


def saved(config, folder):
    """A random model of this configuration, of which not all tokens are as likely."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(15.0)
    save_model(model, tiny_tokenizer(), folder)
    return model


@pytest.mark.parametrize("kind", list(FINISHED))
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scaled_and_capped_logits_are_those_of_the_model_itself(tmp_path, kind, temperature):
    """Numbers and gradients of all weights beside transformers' own logits."""
    theirs = saved(FINISHED[kind], tmp_path / "m")
    theirs.set_attn_implementation("eager")
    ours, _ = load_policy(tmp_path / "m")
    ids = torch.tensor([[6, 9, 12, 7, 7, 8, 20, 31]])
    logits = theirs(input_ids=ids).logits[0, :-1].double() / temperature
    expected = logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    states = hidden_states(ours, ids)[0, :-1]
    found, entropies = head_logprobs(ours, states, ids[0, 1:], temperature, with_entropy=True)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        head_logits(ours, states).double() / temperature, logits, atol=1e-5, rtol=1e-5
    )
    full = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(entropies.double(), full, atol=1e-5, rtol=1e-5)
    weights = torch.linspace(-1, 2, len(found))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("kind", list(FINISHED))
def test_such_a_model_samples_from_what_it_is_trained_on(tmp_path, kind):
    saved(FINISHED[kind], tmp_path / "m")
    model, _ = load_policy(tmp_path / "m")
    prompts = [[6, 7, 8], [9], [10, 11, 12, 13, 14, 15, 16]]
    uniforms = row_uniforms(0, "test", [(i,) for i in range(3)], 12)
    drawn = sample(model, prompts, uniforms, stop_ids=[END])
    full = response_logprobs(model, make_rows(prompts, drawn.responses))
    for row, kept in enumerate(drawn.logprobs):
        torch.testing.assert_close(
            full[row, : len(kept)], torch.tensor(kept), atol=1e-4, rtol=0, check_dtype=False
        )


def test_under_autocast_capped_logits_have_nearly_the_same_gradients():
    model = tiny_model()
    model.config.final_logit_softcapping = 2.0
    states, tokens = states_and_tokens(model)
    exact = gradients(model, head_logprobs(model, states, tokens)[0].sum(), states)
    with precision("bf16"):
        low, _ = head_logprobs(model, states, tokens)
    for new, old in zip(gradients(model, low.sum(), states), exact, strict=True):
        assert (new - old).norm() < 0.01 * old.norm()


def test_padding_of_the_vocabulary_stays_impossible_under_a_cap():
    model = tiny_model()
    model.config.final_logit_softcapping = 2.0
    model.config.num_known_tokens = len(WORDS) - 3
    states, tokens = states_and_tokens(model)
    assert (head_logits(model, states)[:, -3:] == vocabulary.IMPOSSIBLE).all()
    found = gradients(model, head_logprobs(model, states, tokens)[0].sum(), states)
    assert all(grad.isfinite().all() for grad in found)
    assert not found[1][-3:].any()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (HyperCLOVAXConfig(logits_scaling=8.0, **SHAPE), "logits_scaling"),
        (
            RecurrentGemmaConfig(
                logits_soft_cap=3.0, lru_width=16, attention_window_size=8, **SHAPE
            ),
            "logits_soft_cap",
        ),
    ],
)
def test_logits_that_are_made_otherwise_are_refused(tmp_path, config, said):
    """One multiplies by what Granite divides by, the other names its bound otherwise."""
    saved(config, tmp_path / "m")
    with pytest.raises(DataError, match=rf"ForCausalLM .*\b{said}\b"):
        load_policy(tmp_path / "m")


def test_vectors_that_are_made_otherwise_are_refused(tmp_path, monkeypatch):
    saved(FINISHED["granite"], tmp_path / "m")
    monkeypatch.setattr(
        "preceptor.models.load.embedded", lambda model, ids: embedded(model, ids) / 2
    )
    with pytest.raises(DataError, match="embedding"):
        load_policy(tmp_path / "m")
