"""One pass a prompt gives what K separate passes give, scores and gradients."""

import pytest
import torch
from toys import END, tiny_model

from preceptor.config import RewardConfig
from preceptor.models import attention
from preceptor.models.load import scalar_from_policy
from preceptor.models.packing import pack_groups
from preceptor.stages.reward import (
    RankedPrompt,
    choose_scoring,
    prompt_losses,
    score_grouped,
    score_separately,
)

ITEMS = [
    RankedPrompt([6, 7, 8], [[9, END], [10, 11, 12, END], [13, END]], [[1, 2, 3], [2, 1, 1]]),
    RankedPrompt([9], [[7, END], [END], [8, 8, 8, 8], [6, END]], [[4, 1, 1, 3]]),
]


@pytest.fixture(params=["llama", "gqa", "gpt2"])
def reward_model(request, tmp_path):
    tiny_model(request.param).save_pretrained(tmp_path)
    return scalar_from_policy(tmp_path, seed=3)


def test_scores_equal_separate_passes(reward_model):
    torch.testing.assert_close(
        score_grouped(reward_model, ITEMS), score_separately(reward_model, ITEMS), atol=1e-5, rtol=0
    )
    assert choose_scoring(reward_model, ITEMS, RewardConfig()) is score_grouped


def test_gradients_equal_separate_passes(reward_model):
    found = []
    for scoring in (score_grouped, score_separately):
        reward_model.zero_grad()
        sum(prompt_losses(reward_model, ITEMS, RewardConfig(), scoring)).backward()
        found.append([p.grad.clone() for p in reward_model.parameters() if p.grad is not None])
    for grouped, separate in zip(*found, strict=True):
        torch.testing.assert_close(grouped, separate, atol=1e-5, rtol=1e-4)


def test_a_sibling_changes_nothing(reward_model):
    other = RankedPrompt([6, 7, 8], [[9, END], [20, 21, 22, END], [13, END]], [[1, 2, 3]])
    before, after = (score_grouped(reward_model, [item]) for item in (ITEMS[0], other))
    torch.testing.assert_close(before[[0, 2]], after[[0, 2]], atol=1e-6, rtol=0)
    assert abs(float((before[1] - after[1]).detach())) > 1e-4


def test_microbatches_do_not_change_the_loss(reward_model):
    whole = sum(prompt_losses(reward_model, ITEMS, RewardConfig(), score_grouped))
    tight = RewardConfig(microbatch_tokens=1)
    split = sum(prompt_losses(reward_model, ITEMS, tight, score_grouped))
    torch.testing.assert_close(whole, split, atol=1e-6, rtol=0)


def test_a_model_that_cannot_be_packed_falls_back_with_a_notice(reward_model, capsys):
    reward_model.set_attn_implementation("eager")
    assert choose_scoring(reward_model, ITEMS, RewardConfig()) is score_separately
    assert "each response is scored alone" in capsys.readouterr().err


def test_long_prompts_go_to_the_fused_kernel_with_the_same_scores(reward_model, monkeypatch):
    expected = score_grouped(reward_model, ITEMS)
    monkeypatch.setattr(attention, "LONGEST", 4)
    monkeypatch.setattr(attention, "plain_attention", None)
    torch.testing.assert_close(score_grouped(reward_model, ITEMS), expected, atol=1e-5, rtol=0)


def test_the_row_has_every_token_once_and_little_padding():
    packing = pack_groups([3, 40], [[5, 2], [7, 1, 30]])
    assert packing.count == 3 + 40 + 5 + 2 + 7 + 1 + 30
    assert packing.shape == (2, 48, 3, 32)
    assert packing.starts.tolist() == [0, 3, 43, 48, 50, 57, 58]
    assert packing.positions[:3].tolist() == [0, 1, 2]
    assert packing.positions[43:50].tolist() == [3, 4, 5, 6, 7, 3, 4]
    assert packing.positions[50:52].tolist() == [40, 41]


def test_a_response_without_a_token_is_refused():
    with pytest.raises(ValueError, match="a response has no token"):
        pack_groups([3], [[5, 0]])
