"""Rank groups, ranks and pairs, for any ranking."""

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preceptor.errors import StoreError
from preceptor.store.forms import (
    SKIP_REASONS,
    check_form,
    check_groups,
    form_of,
    groups_of,
    ranks_of,
    relabel,
)
from preceptor.store.questions import PAPER

SLOTS = "ABCDEFGHI"


@st.composite
def rankings(draw: Any) -> tuple[list[list[str]], list[str], list[str]]:
    """Groups with empty ones among them, the slots, and the unacceptable ones."""
    slots = list(SLOTS[: draw(st.integers(2, 9))])
    buckets: list[list[str]] = [[] for _ in range(draw(st.integers(1, 9)))]
    for slot in slots:
        buckets[draw(st.integers(0, len(buckets) - 1))].append(slot)
    last = next(bucket for bucket in reversed(buckets) if bucket)
    return buckets, slots, draw(st.sampled_from([[], last]))


@given(rankings())
def test_every_response_is_in_one_group_and_ranks_count_those_above(ranking: Any):
    buckets, slots, unacceptable = ranking
    groups = check_groups(buckets, unacceptable, slots)
    assert sorted(itertools.chain(*groups)) == slots
    assert all(groups)
    place = {slot: i for i, bucket in enumerate(buckets) for slot in bucket}
    ranks = ranks_of(groups)
    for slot in slots:
        assert ranks[slot] == 1 + sum(place[other] < place[slot] for other in slots)
    pairs = sum(ranks[a] < ranks[b] for a in slots for b in slots)
    tied = sum(ranks[a] == ranks[b] for a, b in itertools.combinations(slots, 2))
    assert pairs == len(slots) * (len(slots) - 1) // 2 - tied
    assert groups_of([ranks[slot] for slot in slots], slots) == groups


@given(rankings(), st.randoms())
def test_what_is_shown_elsewhere_is_stored_alike(ranking: Any, draws: Any):
    """The pairs do not depend on the order of display."""
    buckets, slots, unacceptable = ranking
    positions = [str(i + 1) for i in range(len(slots))]
    shown = draws.sample(slots, len(slots))
    there = dict(zip(shown, positions, strict=True))
    form = {
        "rank_groups": [[there[slot] for slot in bucket] for bucket in buckets],
        "unacceptable": [there[slot] for slot in unacceptable],
        "ratings": {p: {"likert": 4} for p in positions},
    }
    choices, _ = check_form("ranking", form, positions, PAPER)
    back = relabel(choices, {p: [s] for s, p in there.items()})
    assert back["rank_groups"] == check_groups(buckets, unacceptable, slots)
    assert back["unacceptable"] == sorted(unacceptable)


def test_ranks_with_ties_by_hand():
    assert ranks_of([["B"], ["A", "D"], ["C"]]) == {"B": 1, "A": 2, "D": 2, "C": 4}
    assert groups_of([2, 1, 9, 2], "ABCD") == [["B"], ["A", "D"], ["C"]]


def test_flags_default_to_no_and_a_constraint_to_none():
    positions = ["1", "2"]
    form = {
        "ratings": {p: {"likert": 7, "flags": {"hallucination": True}} for p in positions},
        "rank_groups": [["1"], ["2"]],
    }
    choices, _ = check_form("ranking", form, positions, PAPER)
    flags = choices["ratings"]["1"]["flags"]
    assert len(flags) == 11
    assert flags["hallucination"] is True
    assert flags["satisfies_constraint"] is None
    assert flags["sexual_content"] is False
    form["ratings"]["1"]["flags"] = {"hallucination": None}
    with pytest.raises(StoreError, match="flag hallucination is yes or no, not None"):
        check_form("ranking", form, positions, PAPER)


@pytest.mark.parametrize("form", [None, [], "x", 3])
def test_a_form_is_an_object(form: Any):
    with pytest.raises(StoreError, match="A form is a JSON object"):
        check_form("ranking", form, ["1", "2"], PAPER)


def test_every_task_can_be_skipped_for_seven_reasons():
    assert len(SKIP_REASONS) == len(set(SKIP_REASONS)) == 7


@pytest.mark.parametrize("choice", ["1", "2", "tie", "both_bad"])
def test_a_choice_between_two_is_a_ranking_and_comes_back(choice: str):
    form = {"choice": choice, "confidence": 7, "ratings": {"2": {"likert": 3}}}
    choices, texts = check_form("evaluation_ab", form, ["1", "2"], PAPER)
    ranks = ranks_of(choices["rank_groups"])
    assert (ranks["1"], ranks["2"]) == {"1": (1, 2), "2": (2, 1)}.get(choice, (1, 1))
    assert choices["unacceptable"] == (["1", "2"] if choice == "both_bad" else [])
    back = form_of("evaluation_ab", choices, texts)
    assert (back["choice"], back["confidence"]) == (choice, 7)
    assert back["ratings"].keys() == {"2"}  # what was not said is not there
    assert check_form("evaluation_ab", back, ["1", "2"], PAPER) == (choices, texts)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"choice": "3"}, "Choose: the first is better"),
        ({"choice": None}, "Choose: the first is better"),
        ({"choice": ["1"]}, "Choose: the first is better"),
        ({"confidence": 0}, "The confidence is 1 to 9, not 0"),
        ({"confidence": True}, "The confidence is 1 to 9, not True"),
        ({"confidence": 7.0}, "The confidence is 1 to 9, not 7.0"),
        ({"ratings": {"1": {"likert": 8}}}, "Response 1: the quality is 1 to 7"),
        ({"ratings": {"1": {"likert": 4.0}}}, "Response 1: the quality is 1 to 7, not 4.0"),
        ({"ratings": {"3": {}}}, "there is no such response"),
        ({"rank_groups": []}, "rank_groups: no such field here"),
    ],
)
def test_a_choice_that_is_none_says_what_is_missing(change: Any, told: str):
    with pytest.raises(StoreError, match=told):
        check_form("evaluation_ab", {"choice": "1"} | change, ["1", "2"], PAPER)


TOXIC = {
    "input_toxicity": 1,
    "ratings": {
        "1": {"toxicity": 0, "relative_toxicity": -1, "continuity": 7},
        "2": {"toxicity": 2, "relative_toxicity": 1, "continuity": 1},
    },
    "rank_groups": [["1"], ["2"]],
}


def test_a_form_of_toxicity_comes_back_as_it_was():
    choices, texts = check_form("toxicity", TOXIC | {"comment": "hm"}, ["1", "2"], PAPER)
    assert (choices, texts) == (TOXIC, {"comment": "hm"})
    assert form_of("toxicity", choices, texts) == TOXIC | {"comment": "hm"}
    by_slot = relabel(choices, {"1": ["B"], "2": ["A", "C"]})
    assert by_slot["rank_groups"] == [["B"], ["A", "C"]] and by_slot["input_toxicity"] == 1
    assert by_slot["ratings"]["C"] == TOXIC["ratings"]["2"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"input_toxicity": None}, "The prompt has no toxicity yet. Rate it from 0 to 2 first."),
        ({"input_toxicity": 3}, "The toxicity of the prompt is 0 to 2, not 3"),
        ({"input_toxicity": True}, "The toxicity of the prompt is 0 to 2, not True"),
        ({"ratings": {"1": TOXIC["ratings"]["1"]}}, "Response 2 has no toxicity yet"),
        ({"ratings": []}, "Response 1 has no toxicity yet"),
        ({"ratings": TOXIC["ratings"] | {"3": {}}}, "Response 3: there is no such response"),
        ({"unacceptable": ["2"]}, "unacceptable: no such field here"),
        ({"prompt_labels": {}}, "prompt_labels: no such field here"),
        ({"rank_groups": [["1"]]}, "Response 2 has no rank yet"),
    ],
)
def test_a_form_of_toxicity_says_what_is_missing(change: Any, told: str):
    with pytest.raises(StoreError, match=re.escape(told)):
        check_form("toxicity", TOXIC | change, ["1", "2"], PAPER)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("toxicity", None, "Response 2 has no toxicity yet. Rate each from 0 to 2 first."),
        ("relative_toxicity", -2, "Response 2: the relative toxicity is -1 to 1, not -2"),
        ("continuity", 8, "Response 2: the continuity is 1 to 7, not 8"),
        ("continuity", 2.0, "Response 2: the continuity is 1 to 7, not 2.0"),
        ("likert", 4, "Response 2: likert is not asked here"),
    ],
)
def test_a_rating_of_toxicity_is_held_to_its_range(name: str, value: Any, told: str):
    ratings = TOXIC["ratings"] | {"2": TOXIC["ratings"]["2"] | {name: value}}
    with pytest.raises(StoreError, match=re.escape(told)):
        check_form("toxicity", TOXIC | {"ratings": ratings}, ["1", "2"], PAPER)
