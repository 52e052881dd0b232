"""From logits to log-probabilities."""

import math

import pytest
import torch
import torch.nn.functional as F

from preceptor.functional import entropy, next_token_loss, token_logprobs

B, T, V = 3, 5, 11


def random_logits(seed: int = 0, dtype=torch.float64):
    return 3 * torch.randn(B, T, V, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_tokens(seed: int = 1):
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed))


def some_mask():
    lengths = torch.tensor([5, 2, 3])
    return torch.arange(T) < lengths[:, None]


def test_logprob_written_out():
    logits, tokens = random_logits(), random_tokens()
    ours = token_logprobs(logits, tokens)
    for b in range(B):
        for t in range(T):
            weights = [math.exp(x) for x in logits[b, t].tolist()]
            expected = math.log(weights[int(tokens[b, t])] / sum(weights))
            assert ours[b, t].item() == pytest.approx(expected)


@pytest.mark.parametrize("token", [-100, -1, V])
def test_token_outside_the_vocabulary_is_not_passed_over(token):
    tokens = random_tokens()
    tokens[1, 2] = token
    with pytest.raises(IndexError, match="out of bounds"):
        token_logprobs(random_logits(), tokens)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32])
def test_any_integer_is_a_token(dtype):
    logits, tokens = random_logits(), random_tokens()
    assert torch.equal(token_logprobs(logits, tokens.to(dtype)), token_logprobs(logits, tokens))


def test_probabilities_sum_to_one_over_the_vocabulary():
    logits = random_logits()
    every = [token_logprobs(logits, torch.full((B, T), v)).exp() for v in range(V)]
    torch.testing.assert_close(sum(every), torch.ones(B, T, dtype=torch.float64))


def test_constant_on_the_logits_changes_nothing():
    logits, tokens = random_logits(), random_tokens()
    torch.testing.assert_close(token_logprobs(logits + 40, tokens), token_logprobs(logits, tokens))


def test_temperature_two_is_halved_logits():
    logits, tokens = random_logits(), random_tokens()
    torch.testing.assert_close(
        token_logprobs(logits, tokens, temperature=2.0), token_logprobs(logits / 2, tokens)
    )


def test_bf16_logits_give_float32_close_to_float64():
    logits, tokens = random_logits().to(torch.bfloat16), random_tokens()
    ours = token_logprobs(logits, tokens)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(
        ours.double(), token_logprobs(logits.double(), tokens), atol=1e-5, rtol=0
    )


def test_impossible_token_has_probability_zero_and_spoils_no_gradient():
    logits = torch.tensor([[[1.0, 0.0, -torch.inf], [1.0, 0.0, -torch.inf]]], requires_grad=True)
    logprobs = token_logprobs(logits, torch.tensor([[0, 2]]))
    assert logprobs[0, 1].item() == -torch.inf
    logprobs[0, 0].backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 0, 2].item() == 0


def test_rows_in_pieces_equal_the_whole():
    logits, tokens = random_logits(), random_tokens()
    pieces = [token_logprobs(logits[:, t : t + 1], tokens[:, t : t + 1]) for t in range(T)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), token_logprobs(logits, tokens))


def test_logprob_gradient():
    logits, tokens = random_logits().requires_grad_(), random_tokens()
    assert torch.autograd.gradcheck(lambda x: token_logprobs(x, tokens, 0.7), (logits,))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_impossible_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature is .* above 0"):
        token_logprobs(random_logits(), random_tokens(), temperature)
    with pytest.raises(ValueError, match="temperature is .* above 0"):
        entropy(random_logits(), temperature)


@pytest.mark.parametrize("shape", [(B, T + 1), (1, T)])
def test_tokens_of_another_shape_are_refused(shape, without_shape_checks):
    tokens = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match=rf"\({B}, {T}, {V}\).*\({shape[0]}, {shape[1]}\)"):
        token_logprobs(random_logits(), tokens)
    with pytest.raises(ValueError, match=rf"\({B}, {T}, {V}\).*\({shape[0]}, {shape[1]}\)"):
        next_token_loss(random_logits(), tokens, torch.ones(shape, dtype=torch.bool))


def test_entropy_is_torchs():
    logits = random_logits()
    reference = torch.distributions.Categorical(logits=logits / 0.7).entropy()
    torch.testing.assert_close(entropy(logits, temperature=0.7), reference)


def test_entropy_of_certain_and_of_undecided():
    certain = torch.tensor([[[0.0, -torch.inf, -torch.inf]]])
    assert entropy(certain).item() == 0
    assert entropy(torch.zeros(1, 1, V)).item() == pytest.approx(math.log(V))


def mean_surprise(logits, tokens, places):
    probabilities = logits.softmax(dim=-1)
    surprises = [-math.log(probabilities[b, t, tokens[b, t]].item()) for b, t in places]
    return sum(surprises) / len(surprises)


def test_loss_is_the_mean_surprise_of_the_tokens_that_count():
    logits, tokens, mask = random_logits(), random_tokens(), some_mask()
    expected = mean_surprise(logits, tokens, mask.nonzero().tolist())
    ignored = tokens.masked_fill(~mask, -100)
    assert next_token_loss(logits, ignored, mask).item() == pytest.approx(expected)
    reference = F.cross_entropy(logits.flatten(0, 1), ignored.flatten())
    assert reference.item() == pytest.approx(expected)


def test_loss_over_all_tokens():
    logits, tokens = random_logits(), random_tokens()
    everything = torch.ones(B, T, dtype=torch.bool)
    expected = mean_surprise(logits, tokens, everything.nonzero().tolist())
    assert next_token_loss(logits, tokens, everything).item() == pytest.approx(expected)


def test_nan_logits_under_the_mask_reach_neither_loss_nor_gradient():
    clean, tokens, mask = random_logits(), random_tokens(), some_mask()
    clean.requires_grad_()
    next_token_loss(clean, tokens, mask).backward()
    dirty = clean.detach().masked_fill(~mask[..., None], math.nan).requires_grad_()
    loss = next_token_loss(dirty, tokens.masked_fill(~mask, 10**9), mask)
    loss.backward()
    torch.testing.assert_close(loss, next_token_loss(clean, tokens, mask))
    torch.testing.assert_close(dirty.grad, clean.grad)
    assert (dirty.grad[~mask] == 0).all()


def test_loss_of_no_token_is_zero_and_connected():
    logits = random_logits().requires_grad_()
    loss = next_token_loss(logits, random_tokens(), torch.zeros(B, T, dtype=torch.bool))
    assert loss.item() == 0
    loss.backward()
    assert (logits.grad == 0).all()


def test_microbatches_with_the_batch_count_add_up():
    logits, tokens, mask = random_logits().requires_grad_(), random_tokens(), some_mask()
    whole = next_token_loss(logits, tokens, mask)
    (whole_gradient,) = torch.autograd.grad(whole, logits)
    total = int(mask.sum())
    parts = sum(
        next_token_loss(logits[i:j], tokens[i:j], mask[i:j], denominator=total)
        for i, j in [(0, 1), (1, 3)]
    )
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, logits)[0], whole_gradient)


def test_loss_gradient():
    logits, tokens, mask = random_logits().requires_grad_(), random_tokens(), some_mask()
    assert torch.autograd.gradcheck(lambda x: next_token_loss(x, tokens, mask), (logits,))
