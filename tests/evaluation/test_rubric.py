"""The rubric can fail an answer in each of its ways, and cheap tricks stay far below an answer."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preceptor.data.records import Prompt
from preceptor.evaluation.rubric import PARTS, RUBRIC_MARKDOWN, rubric_judge

TOWER = (
    "The Blue Tower is an iron tower in Lyra, built by Ada Stone in 1889. It has three floors and "
    "was the tallest building of the country until 1930. Many visitors climb it every summer."
)


def task(text: Any, kind: str, form: str = "sentence", **held_to: Any) -> Prompt:
    return Prompt(text, meta={"task": {"kind": kind, "form": form} | held_to})


OPEN = task("What is the Blue Tower?", "open_qa", reference=TOWER)
CASES: dict[str, tuple[Prompt, str]] = {
    "open_qa": (OPEN, "The Blue Tower is an iron tower in Lyra, built by Ada Stone in 1889."),
    "one_sentence": (
        task("What is the Blue Tower? Answer in one sentence.", "open_qa", reference=TOWER,
             constraint={"kind": "sentences", "n": 1}),
        "It is an iron tower in Lyra that was the tallest building of the country until 1930.",
    ),
    "closed_qa": (
        task(f"{TOWER}\n\nWho built it?", "closed_qa", "phrase", passage=TOWER,
             answers=["Ada Stone"]),
        "Ada Stone.",
    ),
    "summarization": (
        task(f"Summarize in one sentence: {TOWER}", "summarization", passage=TOWER,
             reference="The Blue Tower is an iron tower in Lyra.",
             constraint={"kind": "sentences", "n": 1}),
        "The Blue Tower is an iron tower in Lyra.",
    ),
    "classification": (
        task(f"Is this about arts, mathematics, technology or people? {TOWER}", "classification",
             "phrase", passage=TOWER, answers=["technology"],
             choices=["arts", "mathematics", "technology", "people"]),
        "Technology.",
    ),
    "extraction": (
        task(f"List the years in this text. {TOWER}", "extraction", "list", passage=TOWER,
             entries=["1889", "1930"]),
        "1889 and 1930.",
    ),
    "brainstorming": (
        task("Name three rivers. Answer as a list of three items.", "brainstorming", "list",
             entries=["Nile", "Amazon", "Rhine", "Elbe"], items=3,
             constraint={"kind": "list", "n": 3}),
        "- Nile\n- Rhine\n- Elbe",
    ),
    "generation": (
        task('Write a short text about the Blue Tower. Use the word "summer".', "generation",
             reference=TOWER, constraint={"kind": "word", "word": "summer"}),
        "The Blue Tower is an iron tower in Lyra with three floors. Visitors climb it in summer.",
    ),
    "rewriting": (
        task("Rewrite as a full sentence: Ada Stone, Lyran engineer (1840-1899).", "rewriting",
             passage="Ada Stone, Lyran engineer (1840-1899)",
             reference="Ada Stone was a Lyran engineer who lived from 1840 to 1899."),
        "Ada Stone was a Lyran engineer who lived from 1840 to 1899.",
    ),
    "chat": (
        task([{"role": "user", "content": "What is the Blue Tower?"},
              {"role": "assistant", "content": "The Blue Tower is an iron tower in Lyra."},
              {"role": "user", "content": "Tell me more."}], "chat", reference=TOWER),
        "It has three floors and was the tallest building of the country until 1930.",
    ),
}  # fmt: skip
SOUP = "tower iron Lyra Stone 1889 Nile technology summer engineer floors building country 1930"


def said(prompt: Prompt) -> str:
    text = prompt.prompt
    return text if isinstance(text, str) else text[-1]["content"]


def attacks(prompt: Prompt, reference: str) -> dict[str, str]:
    """Cheap ways to please a judge, made from the prompt and the right answer."""
    words = reference.split()
    passage = prompt.meta["task"].get("passage", "")
    found = {
        "prompt again": said(prompt),
        "empty": "",
        "blanks": " \n ",
        "one word": "Yes.",
        "keyword soup": SOUP,
        "boilerplate": "Great question! As an AI language model, I'm happy to help. Feel free to "
        "ask and let me know if you need anything else. I hope this helps!",
        "endless repetition": " ".join([reference] * 6),
        "question back": "What do you think about that?",
    }
    if len(words) > 5:
        found["cut off"] = " ".join(words[: len(words) // 2]) + " and the"
    if len(passage) > 60:
        found["passage copied"] = passage
    return found


ATTACKS = [
    (name, attack) for name, case in CASES.items() for attack in attacks(*case)
]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_right_answer_scores_high(name: str):
    assert rubric_judge(*CASES[name]).score >= 0.9


@pytest.mark.parametrize("name, attack", ATTACKS)
def test_a_cheap_trick_scores_clearly_lower(name: str, attack: str):
    prompt, reference = CASES[name]
    trick = rubric_judge(prompt, attacks(prompt, reference)[attack])
    assert trick.score <= rubric_judge(prompt, reference).score - 0.2, trick


@pytest.mark.parametrize(
    "part, response",
    [
        ("answers_first", "Sure, the Blue Tower is an iron tower in Lyra."),
        ("on_topic", "Bananas are a yellow fruit that grows in warm places."),
        ("true", "The Blue Tower is a wooden lighthouse in Dublin, opened by Queen Mary in 1705."),
        (
            "concise",
            "The Blue Tower is an iron tower. " + "It stands in Lyra, high up. " * 12,
        ),
        ("complete", "The Blue Tower is an iron tower in Lyra, built by"),
        ("no_repetition", "It is an iron tower in Lyra. It is an iron tower in Lyra."),
        ("no_boilerplate", "It is an iron tower in Lyra. I hope this helps. Feel free to ask."),
    ],
)
def test_each_part_can_fail(part: str, response: str):
    right = rubric_judge(*CASES["open_qa"]).parts[part]
    wrong = rubric_judge(OPEN, response).parts[part]
    assert right is not None and wrong is not None
    assert wrong <= right - 0.5


def test_a_wrong_number_costs_more_than_a_wrong_word():
    base = "The Blue Tower is an iron tower in Lyra, built by Ada Stone in {}."
    right = rubric_judge(OPEN, base.format("1889")).parts["true"]
    wrong = rubric_judge(OPEN, base.format("1701")).parts["true"]
    other = rubric_judge(OPEN, base.format("haste")).parts["true"]
    assert right is not None and wrong is not None and other is not None
    assert wrong < other <= right


@pytest.mark.parametrize(
    "limit, kept, broken",
    [
        ({"kind": "sentences", "n": 1}, "One is here.", "One is here. Two is here."),
        ({"kind": "max_words", "n": 5}, "Five words are quite enough.", "a " * 12),
        ({"kind": "word", "word": "river"}, "The river flows.", "The lake lies."),
        ({"kind": "list", "n": 2}, "- one\n- two", "one and two"),
        ({"kind": "shorter", "n": 8}, "It is a red fish.", "It is a fish of a red color."),
        ({"kind": "list", "n": 2}, "1. one\n2. two", "- one\n- two\n- three\n- four"),
    ],
)
def test_constraints_are_graded(limit: dict[str, Any], kept: str, broken: str):
    prompt = task("Say something.", "any", constraint=limit)
    assert rubric_judge(prompt, kept).parts["constraint"] == 1
    less = rubric_judge(prompt, broken).parts["constraint"]
    assert less is not None and less <= 0.5


def test_breaking_a_limit_by_more_costs_more():
    prompt = task("Say it in at most 6 words.", "any", constraint={"kind": "max_words", "n": 6})
    values = [rubric_judge(prompt, "word " * n).parts["constraint"] for n in (6, 7, 9, 12)]
    assert values == sorted(values, key=lambda v: -(v or 0)) and len(set(values)) == 4


def test_what_is_not_asked_is_none_and_weighs_nothing():
    judgement = rubric_judge(*CASES["open_qa"])
    assert judgement.parts["constraint"] is None
    assert judgement.score == pytest.approx(1.0)


def test_naming_every_choice_is_no_answer():
    prompt, right = CASES["classification"]
    every = rubric_judge(prompt, "Arts, mathematics, technology and people.")
    assert every.parts["true"] == 0.3
    assert every.score < rubric_judge(prompt, right).score - 0.2
    assert rubric_judge(prompt, "Arts.").parts["true"] == 0


def test_an_earlier_turn_said_again_is_a_repetition():
    prompt, _ = CASES["chat"]
    again = rubric_judge(prompt, "The Blue Tower is an iron tower in Lyra.")
    assert again.parts["no_repetition"] == 0


def test_prompts_of_a_users_own_file_can_be_judged():
    prompt = Prompt("Why is the sky blue?")
    good = rubric_judge(prompt, "The sky is blue because air scatters short waves of light most.")
    assert good.parts["true"] is None and good.parts["constraint"] is None
    assert good.score > 0.9
    for bad in ("", "Why is the sky blue?", "blue blue blue blue blue blue", "Great question!"):
        assert rubric_judge(prompt, bad).score < good.score - 0.3


def test_a_conversation_can_be_judged_without_a_task():
    turns = [{"role": "user", "content": "Hello."}]
    assert 0 <= rubric_judge(Prompt(turns), "Hello, nice to meet you.").score <= 1


@given(st.text(max_size=200), st.sampled_from(sorted(CASES)))
def test_any_text_gets_a_score_between_0_and_1(response: str, name: str):
    judgement = rubric_judge(CASES[name][0], response)
    values = [judgement.score, *(v for v in judgement.parts.values() if v is not None)]
    assert all(0 <= value <= 1 for value in values)
    assert set(judgement.parts) == {part.name for part in PARTS}


def test_the_documented_rubric_is_the_one_in_the_code():
    page = Path(__file__).parents[2] / "docs" / "rubric.md"
    assert page.read_text(encoding="utf-8") == RUBRIC_MARKDOWN
    for part in PARTS:
        assert f"| `{part.name}` | {part.weight:.2f} |" in RUBRIC_MARKDOWN
