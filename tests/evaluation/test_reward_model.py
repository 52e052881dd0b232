"""The reward model's figures against counts by hand."""

import numpy as np
import pytest

from preceptor.data.dataset import Judgement
from preceptor.data.records import Prompt, Ranking
from preceptor.evaluation.reward_model import reward_model_results

SUMMARY = {"demonstration_mean": 0.0, "num_comparisons": 5, "probes": {}}


def ranking(prompt, ranks, labeler="", responses=("aa", "b", "cccc"), use_case="", **meta):
    return Ranking(prompt, list(responses), list(ranks), labeler, "", use_case, meta)


def judge(prompt: Prompt, response: str) -> Judgement:
    return Judgement(0.0, {})


def test_reward_model_figures_by_hand():
    """Prompt p has two labelers who agree on two of three pairs; q has one, with a tie."""
    rankings = [
        ranking("p", (1, 2, 3), "x"),
        ranking("p", (2, 1, 3), "y"),
        ranking("q", (1, 1, 2), "x"),
    ]
    scores = [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 1.0, 0.5]]

    def judge(prompt: Prompt, response: str) -> Judgement:
        return Judgement({"aa": 0.9, "b": 0.5, "cccc": 0.5}[response], {})

    found = reward_model_results(rankings, scores, judge, SUMMARY)
    # Labels: p/x all three right, p/y two of three, q: one of its two ordered pairs.
    assert found["accuracy_on_labels"]["mean"] == pytest.approx(6 / 8)
    assert found["labeler_agreement"]["mean"] == pytest.approx(2 / 3)
    # The judge orders aa before both others: p both right, q neither; each prompt once.
    assert found["accuracy_on_gold"]["mean"] == pytest.approx(2 / 4)
    # Longer wins: p/x: aa>b right, cccc>aa wrong, cccc>b wrong; p/y: none; q: none.
    assert found["longer_wins"]["mean"] == pytest.approx(1 / 8)
    assert sum(entry["n"] for entry in found["calibration"]) == 8


def test_one_prompt_with_different_responses_is_two_things_to_agree_on():
    rankings = [
        ranking("p", (1, 2), "x", ("a", "b")),
        ranking("p", (2, 1), "y", ("a", "b")),
        ranking("p", (1, 2, 3), "z", ("c", "dd", "eee")),
    ]

    def judge(prompt: Prompt, response: str) -> Judgement:
        return Judgement(1 / len(response) + (response == "a"), {})

    scores = [[2.0, 1.0], [2.0, 1.0], [3.0, 2.0, 1.0]]
    found = reward_model_results(rankings, scores, judge, SUMMARY)
    assert found["labeler_agreement"]["mean"] == 0.0
    assert found["accuracy_on_gold"]["mean"] == 1.0
    assert found["accuracy_on_gold"]["n"] == 4


def means(group):
    return {
        name: (found["accuracy_on_labels"]["mean"], found["longer_wins"]["mean"],
               found["accuracy_on_labels"]["n"])
        for name, found in group.items()
    }  # fmt: skip


def test_accuracy_of_each_labeler_and_use_case_by_hand():
    """Of aa, b, cccc the reward model likes aa best and b second; length likes cccc, then aa."""
    rankings = [
        ranking("p", (1, 2, 3), "ann", use_case="chat"),
        ranking("p", (3, 2, 1), "bob", use_case="chat"),
        ranking("q", (2, 2, 1), "ann", use_case="closed_qa"),
        ranking("r", (1, 1, 1), "cid", use_case="chat"),
    ]
    scores = [[3.0, 2.0, 1.0]] * 4
    found = reward_model_results(rankings, scores, None, SUMMARY)
    # ann on p: all three, of which length has one; on q neither pair, length both.
    # bob on p: the reward model none, length the two with cccc. cid orders nothing.
    assert means(found["by_labeler"]) == {
        "ann": (3 / 5, 3 / 5, 5),
        "bob": (0.0, pytest.approx(2 / 3), 3),
    }
    assert means(found["by_use_case"]) == {
        "chat": (3 / 6, 3 / 6, 6),
        "closed_qa": (0.0, 1.0, 2),
    }
    assert found["accuracy_on_labels"]["mean"] == pytest.approx(3 / 8)
    assert found["accuracy_on_gold"]["mean"] is None


def test_a_pair_counts_under_the_models_that_wrote_it():
    rankings = [
        ranking("p", (1, 2, 3), sources=["sft", "ppo_ptx", "sft"]),
        ranking("q", (1, 2, 3), sources=["ppo_ptx", "ppo_ptx", "sft"]),
        ranking("r", (1, 2, 3)),
        ranking("s", (1, 2, 3), sources="the web"),
        ranking("t", (1, 2, 3), sources=["sft", "sft"]),
    ]
    scores = [[3.0, 2.0, 1.0], [1.0, 2.0, 0.0], *[[1.0, 2.0, 3.0]] * 3]
    found = reward_model_results(rankings, scores, None, SUMMARY)["by_source"]
    assert {name: value[::2] for name, value in means(found).items()} == {
        "sft": (1.0, 1),
        "ppo_ptx": (0.0, 1),
        "sft / ppo_ptx": (1.0, 4),
    }


def test_rankings_without_sources_have_no_groups_of_them():
    found = reward_model_results([ranking("p", (1, 2, 3))], [[1.0, 2.0, 3.0]], None, SUMMARY)
    assert found["by_source"] is None
    assert set(found["by_labeler"]) == set(found["by_use_case"]) == {"none"}


def test_the_interval_of_a_group_is_over_prompts():
    """Twenty labels of one prompt are one prompt's worth of evidence."""
    many = [ranking(f"p{i}", (1 + i % 2, 2 - i % 2), "ann", ("a", "bb")) for i in range(40)]
    again = [ranking(f"p{i % 2}", (1 + i % 2, 2 - i % 2), "ann", ("a", "bb")) for i in range(40)]
    wide, narrow = (
        reward_model_results(rankings, [[1.0, 0.0]] * 40, None, SUMMARY)["by_labeler"]["ann"]
        for rankings in (again, many)
    )
    width = {"wide": wide, "narrow": narrow}
    spans = {k: v["accuracy_on_labels"]["high"] - v["accuracy_on_labels"]["low"]
             for k, v in width.items()}  # fmt: skip
    assert spans["wide"] > 2 * spans["narrow"]


@pytest.mark.parametrize("sureness", [1.0, 3.0])
def test_labels_drawn_as_the_scores_promise_lie_on_the_diagonal(sureness):
    """A model three times too sure leaves it: it promises more than its labels hold."""
    generator = np.random.default_rng(0)
    gaps = generator.normal(0, 1.5, size=4000)
    wins = generator.random(4000) < 1 / (1 + np.exp(-gaps))
    rankings = [
        ranking(f"p{i}", (1, 2) if won else (2, 1), "", ("a", "b")) for i, won in enumerate(wins)
    ]
    scores = [[sureness * gap, 0.0] for gap in gaps]
    bins = reward_model_results(rankings, scores, None, SUMMARY)["calibration"]
    distances = [abs(one["predicted"] - one["observed"]) for one in bins]
    assert (max(distances) < 0.06) == (sureness == 1.0)
    assert all(one["predicted"] > one["observed"] for one in bins[-3:]) or sureness == 1.0
