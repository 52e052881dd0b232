"""The losses, held against torch's own functions, double loops, symmetries and closed forms."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.functional import policy_loss, ranking_loss, value_loss

B, T = 4, 6
SPLITS = [(0, 1), (1, 3), (3, 4)]


def random_numbers(seed: int, *shape: int):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def token_mask():
    return torch.arange(T) < torch.tensor([6, 1, 4, 3])[:, None]


def policy_case(seed: int = 0):
    old = -random_numbers(seed, B, T).abs()
    return old + 0.3 * random_numbers(seed + 1, B, T), old, random_numbers(seed + 2, B, T)


# --- policy_loss


def test_new_equal_to_old_is_reinforce():
    _, old, advantages = policy_case()
    mask, new = token_mask(), old.clone().requires_grad_()
    loss, stats = policy_loss(new, old, advantages, mask, clip_range=0.2)
    loss.backward()
    torch.testing.assert_close(loss, -advantages[mask].mean())
    torch.testing.assert_close(new.grad, torch.where(mask, -advantages / mask.sum(), 0.0))
    assert stats["clip_fraction"] == 0
    assert stats["update_kl"] == 0
    assert stats["ratio_mean"] == stats["ratio_min"] == stats["ratio_max"] == 1


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "learns"),
    [(0.5, 1.0, False), (0.5, -1.0, True), (-0.5, 1.0, True), (-0.5, -1.0, False)],
)
def test_gradient_stops_only_on_the_favorable_side(log_ratio, advantage, learns):
    new = torch.tensor([[log_ratio]], requires_grad=True)
    loss, _ = policy_loss(
        new, torch.zeros(1, 1), torch.tensor([[advantage]]), torch.tensor([[True]]), clip_range=0.2
    )
    loss.backward()
    assert (new.grad.item() != 0) == learns


def test_policy_loss_is_never_below_the_unclipped_objective():
    new, old, advantages = policy_case()
    mask = token_mask()
    loss, _ = policy_loss(new, old, advantages, mask, clip_range=0.1)
    wide, _ = policy_loss(new, old, advantages, mask, clip_range=1e9)
    torch.testing.assert_close(wide, (-advantages * (new - old).exp())[mask].mean())
    assert loss > wide


def test_policy_gradient_by_finite_differences():
    new, old, advantages = policy_case()
    mask = token_mask()
    kinks = ((new - old).exp() - 1).abs() - 0.2
    assert kinks.abs().min() > 1e-4, "the seed put a token on a kink"
    assert torch.autograd.gradcheck(
        lambda x: policy_loss(x, old, advantages, mask, clip_range=0.2)[0], (new.requires_grad_(),)
    )


def test_only_the_new_logprobs_learn():
    arguments = [x.requires_grad_() for x in policy_case()]
    policy_loss(*arguments, token_mask(), clip_range=0.2)[0].backward()
    assert arguments[0].grad is not None
    assert arguments[1].grad is None
    assert arguments[2].grad is None


def test_nothing_is_learned_where_nothing_is_better():
    """Advantages of 0 leave no gradient at all: there is no entropy bonus in the loss (rule 42)."""
    new, old, advantages = policy_case()
    new.requires_grad_()
    policy_loss(new, old, 0 * advantages, token_mask(), clip_range=0.2)[0].backward()
    assert not new.grad.any()


def test_policy_stats_by_loop():
    new, old, advantages = policy_case()
    mask = token_mask()
    _, stats = policy_loss(new, old, advantages, mask, clip_range=0.2)
    places = [(i, j) for i in range(B) for j in range(T) if mask[i, j]]
    ratios = [math.exp(new[p].item() - old[p].item()) for p in places]
    clipped = [
        (r > 1.2 and advantages[p] > 0) or (r < 0.8 and advantages[p] < 0)
        for p, r in zip(places, ratios, strict=True)
    ]
    assert 0 < sum(clipped) < len(places)
    assert stats["clip_fraction"].item() == pytest.approx(sum(clipped) / len(places))
    assert stats["ratio_mean"].item() == pytest.approx(sum(ratios) / len(places))
    assert stats["ratio_min"].item() == pytest.approx(min(ratios))
    assert stats["ratio_max"].item() == pytest.approx(max(ratios))


def test_update_kl_averages_to_the_kl_from_old_to_new():
    """One position per outcome and as many copies as its old probability asks for."""
    old = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    new = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    drawn = torch.tensor([[0, 0, 1, 2]])
    _, stats = policy_loss(
        new.log()[drawn],
        old.log()[drawn],
        torch.ones(1, 4, dtype=torch.float64),
        torch.ones(1, 4, dtype=torch.bool),
        clip_range=0.2,
    )
    torch.testing.assert_close(stats["update_kl"], (old * (old / new).log()).sum())


def test_policy_loss_of_nothing_is_zero_and_connected():
    new = torch.full((2, 3), math.nan, requires_grad=True)
    nan = torch.full((2, 3), math.nan)
    loss, stats = policy_loss(new, nan, nan, torch.zeros(2, 3).bool(), clip_range=0.2)
    assert loss.item() == 0
    loss.backward()
    assert (new.grad == 0).all()
    assert all(value.item() == 0 for value in stats.values())


# --- value_loss


def value_case(seed: int = 0):
    old = random_numbers(seed, B, T)
    return old + 0.3 * random_numbers(seed + 1, B, T), old, random_numbers(seed + 2, B, T)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), clip_range=st.floats(0.01, 2))
def test_value_loss_is_never_below_half_the_squared_error(seed, clip_range):
    values, old, returns = value_case(seed)
    mask = token_mask()
    plain = 0.5 * F.mse_loss(values[mask], returns[mask])
    loss, _ = value_loss(values, old, returns, mask, clip_range=clip_range)
    assert loss >= plain - 1e-12
    wide, stats = value_loss(values, old, returns, mask, clip_range=1e6)
    torch.testing.assert_close(wide, plain)
    assert stats["value_clip_fraction"] == 0


def test_value_loss_by_loop():
    values, old, returns = value_case()
    mask, total, clipped = token_mask(), 0.0, 0
    for i, j in itertools.product(range(B), range(T)):
        if mask[i, j]:
            v, o, r = values[i, j].item(), old[i, j].item(), returns[i, j].item()
            moved = min(max(v, o - 0.1), o + 0.1)
            total += 0.5 * max((v - r) ** 2, (moved - r) ** 2)
            clipped += (moved - r) ** 2 > (v - r) ** 2
    loss, stats = value_loss(values, old, returns, mask, clip_range=0.1)
    assert loss.item() == pytest.approx(total / mask.sum().item())
    assert stats["value_clip_fraction"].item() == pytest.approx(clipped / mask.sum().item())
    assert clipped > 0


def test_value_gradient_by_finite_differences():
    values, old, returns = value_case()
    mask = token_mask()
    assert torch.autograd.gradcheck(
        lambda x: value_loss(x, old, returns, mask, clip_range=0.2)[0], (values.requires_grad_(),)
    )


def test_only_the_values_learn():
    arguments = [x.requires_grad_() for x in value_case()]
    value_loss(*arguments, token_mask(), clip_range=0.2)[0].backward()
    assert [x.grad is not None for x in arguments] == [True, False, False]


def test_explained_variance_of_perfect_constant_and_noisy_values():
    mask, returns = token_mask(), random_numbers(3, B, T)

    def explained(values, returns=returns):
        _, stats = value_loss(values, values, returns, mask, clip_range=0.2)
        return stats["explained_variance"].item()

    assert explained(returns) == 1
    assert explained(returns + 5) == pytest.approx(1), "a constant error is not variance"
    assert explained(torch.zeros_like(returns)) == pytest.approx(0)
    assert explained(-returns) == pytest.approx(-3)
    assert explained(returns, torch.ones_like(returns)) == 0, "nothing to explain"


def test_value_loss_of_nothing_is_zero_and_connected():
    values = torch.full((2, 3), math.nan, requires_grad=True)
    nan = torch.full((2, 3), math.nan)
    loss, stats = value_loss(values, nan, nan, torch.zeros(2, 3).bool(), clip_range=0.2)
    assert loss.item() == 0
    loss.backward()
    assert (values.grad == 0).all()
    assert all(value.item() == 0 for value in stats.values())


# --- ranking_loss


def all_there(*shape: int):
    return torch.ones(*shape, dtype=torch.bool)


def loop_over_pairs(scores, ranks, mask):
    """Eq. 1 in Python floats, one pair at a time."""
    means = []
    for s, r, m in zip(scores.tolist(), ranks.tolist(), mask.tolist(), strict=True):
        there = [k for k in range(len(s)) if m[k]]
        pairs = [(i, j) for i in there for j in there if r[i] < r[j]]
        losses = [math.log1p(math.exp(s[j] - s[i])) for i, j in pairs]
        if losses:
            means.append(sum(losses) / len(losses))
    return sum(means) / len(means) if means else 0.0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), num_responses=st.integers(1, 9))
def test_ranking_loss_equals_the_loop_over_pairs(seed, num_responses):
    generator = torch.Generator().manual_seed(seed)
    scores = random_numbers(seed, 5, num_responses)
    ranks = torch.randint(1, 5, (5, num_responses), generator=generator)
    mask = torch.rand(5, num_responses, generator=generator) < 0.8
    expected = loop_over_pairs(scores, ranks, mask)
    assert ranking_loss(scores, ranks, mask).item() == pytest.approx(expected)


def test_two_responses_are_logistic_regression_on_the_difference():
    scores = random_numbers(0, 6, 2)
    ranks = torch.tensor([[1, 2]] * 3 + [[2, 1]] * 3)
    labels = torch.tensor([1.0] * 3 + [0.0] * 3, dtype=torch.float64)
    reference = F.binary_cross_entropy_with_logits(scores[:, 0] - scores[:, 1], labels)
    torch.testing.assert_close(ranking_loss(scores, ranks, all_there(6, 2)), reference)


def test_better_scores_for_better_responses_cost_less():
    ranks = torch.tensor([[1, 2, 3]])
    right, wrong = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    assert ranking_loss(right, ranks, all_there(1, 3)) < ranking_loss(wrong, ranks, all_there(1, 3))


def test_what_does_not_change_the_ranking_loss():
    scores, ranks = (
        random_numbers(0, 3, 4),
        torch.tensor([[1, 2, 2, 4], [3, 1, 2, 4], [2, 2, 1, 1]]),
    )
    mask = all_there(3, 4)
    mask[1, 3] = False
    loss = ranking_loss(scores, ranks, mask)
    shifted = scores + torch.tensor([[10.0], [-3.0], [0.5]], dtype=torch.float64)
    torch.testing.assert_close(ranking_loss(shifted, ranks, mask), loss)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        ranking_loss(scores[:, order], ranks[:, order], mask[:, order]), loss
    )
    torch.testing.assert_close(ranking_loss(scores, ranks**3 - 70, mask), loss)


def test_equal_scores_give_log_two():
    loss = ranking_loss(torch.full((2, 5), 3.0), torch.arange(10).view(2, 5), all_there(2, 5))
    assert loss.item() == pytest.approx(math.log(2))


def test_ties_make_no_pair():
    scores = random_numbers(0, 1, 3).requires_grad_()
    loss = ranking_loss(scores, torch.tensor([[1, 1, 2]]), all_there(1, 3))
    expected = [math.log1p(math.exp((scores[0, 2] - scores[0, i]).item())) for i in (0, 1)]
    assert loss.item() == pytest.approx(sum(expected) / 2)


def test_a_prompt_of_ties_alone_does_not_dilute_the_mean():
    scores, ranks = random_numbers(0, 2, 3), torch.tensor([[1, 2, 3], [2, 2, 2]])
    both = ranking_loss(scores, ranks, all_there(2, 3))
    torch.testing.assert_close(both, ranking_loss(scores[:1], ranks[:1], all_there(1, 3)))


def test_a_prompt_with_more_pairs_weighs_no_more():
    scores, ranks = random_numbers(0, 2, 5), torch.tensor([[1, 2, 3, 4, 5]] * 2)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    separate = [ranking_loss(scores[i : i + 1], ranks[:1], mask[i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(ranking_loss(scores, ranks, mask), sum(separate) / 2)


def test_no_pair_at_all_is_zero_and_connected():
    scores = torch.tensor([[1.0, 2.0], [3.0, math.nan]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    loss = ranking_loss(scores, torch.tensor([[1, 1], [1, 2]]), mask)
    assert loss.item() == 0
    loss.backward()
    assert (scores.grad == 0).all()


def test_ranking_gradient_by_finite_differences():
    scores = random_numbers(0, 3, 4).requires_grad_()
    ranks, mask = torch.tensor([[1, 2, 2, 4], [3, 1, 2, 4], [2, 2, 2, 2]]), all_there(3, 4)
    assert torch.autograd.gradcheck(lambda x: ranking_loss(x, ranks, mask), (scores,))


def test_bf16_scores_give_float32():
    scores = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    assert (
        ranking_loss(scores, torch.tensor([[1, 2, 3]] * 2), all_there(2, 3)).dtype == torch.float32
    )


# --- all three


def policy_of(rows, denominator):
    arguments = (*policy_case(), token_mask())
    return policy_loss(*(x[rows] for x in arguments), clip_range=0.2, denominator=denominator)[0]


def value_of(rows, denominator):
    arguments = (*value_case(5), token_mask())
    return value_loss(*(x[rows] for x in arguments), clip_range=0.2, denominator=denominator)[0]


def ranking_of(rows, denominator):
    ranks = torch.tensor([[1, 1, 1], [1, 2, 3], [2, 1, 1], [1, 3, 2]])
    arguments = (random_numbers(0, 4, 3), ranks, all_there(4, 3))
    return ranking_loss(*(x[rows] for x in arguments), denominator=denominator)


@pytest.mark.parametrize(("loss_of", "count"), [(policy_of, 14), (value_of, 14), (ranking_of, 3)])
def test_microbatches_with_the_batch_count_add_up(loss_of, count):
    """14 tokens count, 3 prompts have a pair; microbatches of 1, 2 and 1 rows are unequal."""
    whole = loss_of(slice(None), None)
    parts = [loss_of(slice(i, j), count) for i, j in SPLITS]
    torch.testing.assert_close(sum(parts), whole)
    mean_of_means = sum(loss_of(slice(i, j), None) for i, j in SPLITS) / len(SPLITS)
    assert abs(mean_of_means - whole) > 1e-3, "the case is too even to show anything"


@pytest.mark.parametrize("loss_of", [policy_of, value_of, ranking_of])
def test_impossible_denominator_is_refused(loss_of):
    with pytest.raises(ValueError, match="denominator is 0"):
        loss_of(slice(None), 0)


def test_microbatch_gradients_add_up():
    scores = random_numbers(0, 4, 3).requires_grad_()
    ranks, mask = torch.tensor([[1, 1, 1], [1, 2, 3], [2, 1, 1], [1, 3, 2]]), all_there(4, 3)
    ranking_loss(scores, ranks, mask).backward()
    whole, scores.grad = scores.grad, None
    for i, j in SPLITS:
        ranking_loss(scores[i:j], ranks[i:j], mask[i:j], denominator=3).backward()
    torch.testing.assert_close(scores.grad, whole)


def test_broadcasting_is_refused_and_both_shapes_are_named(without_shape_checks):
    wide, narrow, mask = torch.zeros(2, 3), torch.zeros(2, 1), all_there(2, 3)
    shapes = r"\(2, 3\).*\(2, 1\)"
    with pytest.raises(ValueError, match=r"new_logprobs.*\(2, 3\).*advantages.*\(2, 1\)"):
        policy_loss(wide, wide, narrow, mask, clip_range=0.2)
    with pytest.raises(ValueError, match=shapes):
        value_loss(wide, wide, narrow, mask, clip_range=0.2)
    with pytest.raises(ValueError, match=shapes):
        ranking_loss(wide, torch.ones(2, 1, dtype=torch.long), mask)
