"""The reward that PPO sees."""

import pytest
import torch

from preceptor.functional import scale_scores, shape_rewards

B, T = 4, 6
LENGTHS = torch.tensor([6, 1, 4, 3])


def random_case(seed: int = 0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    score = torch.randn(B, generator=generator, dtype=dtype)
    logprobs = -torch.rand(B, T, generator=generator, dtype=dtype)
    ref_logprobs = -torch.rand(B, T, generator=generator, dtype=dtype)
    return score, logprobs, ref_logprobs, torch.arange(T) < LENGTHS[:, None]


def test_row_sums_to_score_minus_penalty():
    score, logprobs, ref_logprobs, mask = random_case()
    rewards = shape_rewards(score, logprobs, ref_logprobs, mask, kl_coef=0.3)
    for row, length in enumerate(LENGTHS.tolist()):
        log_ratio = sum((logprobs[row, t] - ref_logprobs[row, t]).item() for t in range(length))
        assert rewards[row].sum().item() == pytest.approx(score[row].item() - 0.3 * log_ratio)


def test_score_lands_on_the_end_token():
    score, logprobs, ref_logprobs, mask = random_case()
    rewards = shape_rewards(score, logprobs, ref_logprobs, mask, kl_coef=0.0)
    for row, length in enumerate(LENGTHS.tolist()):
        assert rewards[row, length - 1] == score[row]
        rewards[row, length - 1] = 0
    assert (rewards == 0).all()


def test_last_valid_token_behind_a_hole():
    mask = torch.tensor([[True, False, True, False]])
    rewards = shape_rewards(
        torch.tensor([2.0]), torch.zeros(1, 4), torch.zeros(1, 4), mask, kl_coef=1.0
    )
    assert rewards.tolist() == [[0.0, 0.0, 2.0, 0.0]]


def test_more_padding_changes_nothing():
    score, logprobs, ref_logprobs, mask = random_case()
    rewards = shape_rewards(score, logprobs, ref_logprobs, mask, kl_coef=0.3)
    garbage = torch.full((B, 3), float("nan"), dtype=torch.float64)
    longer = shape_rewards(
        score,
        torch.cat([logprobs, garbage], dim=1),
        torch.cat([ref_logprobs, garbage], dim=1),
        torch.cat([mask, torch.zeros(B, 3, dtype=torch.bool)], dim=1),
        kl_coef=0.3,
    )
    assert torch.equal(longer[:, :T], rewards)
    assert (longer[:, T:] == 0).all()


def test_row_without_tokens_gets_nothing():
    score, logprobs, ref_logprobs, mask = random_case()
    mask[2] = False
    score[2] = float("nan")
    rewards = shape_rewards(score, logprobs, ref_logprobs, mask, kl_coef=0.3)
    assert (rewards[2] == 0).all()
    assert rewards.isfinite().all()


def test_gradient():
    score, logprobs, ref_logprobs, mask = random_case()
    arguments = tuple(x.requires_grad_() for x in (score, logprobs, ref_logprobs))
    assert torch.autograd.gradcheck(lambda *x: shape_rewards(*x, mask, kl_coef=0.3), arguments)


def test_shapes_that_would_broadcast_are_refused(without_shape_checks):
    score, logprobs, ref_logprobs, mask = random_case()
    with pytest.raises(ValueError, match=r"score.*\(1,\).*mask.*\(4, 6\)"):
        shape_rewards(score[:1], logprobs, ref_logprobs, mask, kl_coef=0.1)
    with pytest.raises(ValueError, match=r"score.*\(4, 1\).*mask.*\(4, 6\)"):
        shape_rewards(score[:, None], logprobs, ref_logprobs, mask, kl_coef=0.1)
    with pytest.raises(ValueError, match=r"\(4, 6\).*ref_logprobs.*\(4, 1\)"):
        shape_rewards(score, logprobs, ref_logprobs[:, :1], mask, kl_coef=0.1)


def test_scores_are_scaled_before_they_are_clipped():
    score = torch.tensor([-8.0, -1.0, 0.0, 3.0])
    assert scale_scores(score).tolist() == score.tolist()
    assert scale_scores(score, clip=2.0).tolist() == [-2.0, -1.0, 0.0, 2.0]
    assert scale_scores(score, scale=4.0, clip=1.5).tolist() == [-1.5, -0.25, 0.0, 0.75]
    assert scale_scores(torch.ones(2), scale=0.0).tolist() == [1.0, 1.0]  # all alike: as they are
    assert scale_scores(torch.ones(2), scale=2e-6).tolist() == pytest.approx([5e5, 5e5])
    with pytest.raises(ValueError, match="clip 0"):
        scale_scores(score, clip=0.0)
