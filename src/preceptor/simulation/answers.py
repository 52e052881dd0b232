"""What a simulated labeler does with a task that is shown to them: pure functions of the texts.

The honest ones read, rate and rank as `preceptor.evaluation.labelers` says. The others have habits
that a lead wants to notice, and are there so that it can be tested whether they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from preceptor.data.dataset import Judge
from preceptor.data.records import Messages, Prompt, text_of
from preceptor.evaluation.labelers import (
    Labeler,
    Look,
    look,
    ranks_of_looks,
    stream_of_look,
)
from preceptor.store.forms import LIKERT, Groups, choice_in, groups_of
from preceptor.store.questions import PAPER

Habit = Literal["honest", "straight_liner", "random", "all_tie", "speeder", "flag_everything"]
BAD_HABITS: tuple[Habit, ...] = get_args(Habit)[1:]

DOES = ("demonstration", "ranking", "evaluation", "evaluation_ab")
"""Types of tasks that they can do. A prompt is for people to think of; and no judge here knows what
is toxic."""

# What a fault in a part of the judgement is called on the page; of both judges' parts.
FLAG_OF_PART = {
    "task": "fails_task",
    "complete": "fails_task",
    "truth": "hallucination",
    "true": "hallucination",
    "polite": "inappropriate_for_assistant",
}
NOTICED = 0.5
"""A fault of this size is flagged; a labeler's taste makes it smaller or larger."""
UNACCEPTABLE = 0.1
"""What seems to be worth less than this goes into the last bucket, if all of its group does."""

WORDS_PER_SECOND = 4.0
SECONDS_PER_RESPONSE = 6.0
"""For the quality, the flags and the place of one response."""
HASTE = 0.05
"""The share of an honest labeler's time that a speeder takes."""
UNREAD_IN_HASTE = 0.6
"""The chance that a speeder does not read a response."""


@dataclass(frozen=True)
class Shown:
    """A task as its page shows it: texts by position, the form's flags, nothing of models."""

    task_type: str
    prompt: str | Messages
    responses: Sequence[str]
    flags: Sequence[str] = PAPER.flag_names
    asks_use_case: bool = True
    asks_ratings: bool = True


@dataclass(frozen=True)
class Worker:
    """A labeler with the habits of a person who works in a web page.

    The rates are chances for each task: to skip it, to save a draft on the way, and to undo the
    label and send it again.
    """

    labeler: Labeler
    habit: Habit = "honest"
    skip_rate: float = 0.0
    draft_rate: float = 0.1
    undo_rate: float = 0.02

    def __post_init__(self) -> None:
        if self.habit not in get_args(Habit):
            raise ValueError(f"habit {self.habit}: there are {', '.join(get_args(Habit))}.")


@dataclass(frozen=True)
class Answer:
    """What is done with a task: a form is sent, unless there is a reason to skip it."""

    form: dict[str, Any]
    active_seconds: float
    skip_reason: str | None = None
    saves_draft: bool = False
    undoes: bool = False


@dataclass(frozen=True)
class Knowledge:
    """What the labelers of a seed know: how to judge, and what to write to a prompt.

    `prompts` has what the judge needs besides a prompt's words, `book` the responses to write, both
    by the prompt as one text.
    """

    judge: Judge
    seed: int
    prompts: Mapping[str, Prompt]
    book: Mapping[str, str]


def answer(worker: Worker, shown: Shown, known: Knowledge) -> Answer:
    """The same for the same labeler, prompt and texts, in whatever order they are shown."""
    name = worker.labeler.name
    prompt = known.prompts.get(text_of(shown.prompt), Prompt(shown.prompt))
    mood = stream_of_look(known.seed, f"{name} at work", prompt, shown.responses)
    seconds = _seconds(worker, shown, mood)
    skips, drafts, undoes = mood.random(3) < (worker.skip_rate, worker.draft_rate, worker.undo_rate)
    if skips:
        return Answer({}, seconds, skip_reason="unclear_task")
    if shown.task_type == "demonstration":
        form = _demonstration(prompt, known, shown.asks_use_case)
        if not form["response"]:  # nothing comes to their mind
            return Answer({}, seconds, skip_reason="needs_expertise")
    else:
        form = _ranking(worker, shown, prompt, known, mood)
        if shown.task_type == "evaluation_ab":
            ratings = {"ratings": form["ratings"]} if shown.asks_ratings else {}
            form = {"choice": choice_in(form)} | ratings
    return Answer(form, seconds, saves_draft=bool(drafts), undoes=bool(undoes))


def _demonstration(prompt: Prompt, known: Knowledge, asks_use_case: bool) -> dict[str, Any]:
    labels = {"use_case": prompt.use_case} if prompt.use_case and asks_use_case else {}
    return {"response": known.book.get(text_of(prompt.prompt), ""), "prompt_labels": labels}


def _ranking(
    worker: Worker, shown: Shown, prompt: Prompt, known: Knowledge, mood: np.random.Generator
) -> dict[str, Any]:
    positions = [str(i + 1) for i in range(len(shown.responses))]
    if worker.habit == "straight_liner":
        return _form({p: {"likert": 4} for p in positions}, [[p] for p in positions])
    if worker.habit == "all_tie":
        return _form({p: {"likert": 4} for p in positions}, [positions])
    if worker.habit == "random":
        return _random_form(positions, shown.flags, mood)
    labeler = worker.labeler
    if worker.habit == "speeder":
        labeler = replace(labeler, error_rate=max(labeler.error_rate, UNREAD_IN_HASTE))
    draws = stream_of_look(known.seed, labeler.name, prompt, shown.responses)
    looks = look(labeler, prompt, shown.responses, known.judge, draws)
    ranks = ranks_of_looks(labeler, looks, shown.responses, draws)
    seen = [looks[text.strip()] for text in shown.responses]
    ratings = {
        p: _rating(labeler, one, shown.flags) for p, one in zip(positions, seen, strict=True)
    }
    if worker.habit == "flag_everything":
        ratings = {p: r | {"flags": dict.fromkeys(shown.flags, True)} for p, r in ratings.items()}
    groups = groups_of(ranks, positions)
    worst = max(seen[positions.index(p)].seems for p in groups[-1])
    return _form(ratings, groups, unacceptable=groups[-1] if worst < UNACCEPTABLE else [])


def _rating(labeler: Labeler, one: Look, asked: Sequence[str]) -> dict[str, Any]:
    """Quality from 1 to 7, and the flags of what was read, of those that are asked for."""
    likert = round(LIKERT[0] + one.seems * (LIKERT[-1] - LIKERT[0]))
    flags: dict[str, bool | None] = {}
    parts = one.judgement.parts if one.judgement else {}
    for part, value in parts.items():
        if value is None:
            continue
        fault = (1 - value) * labeler.taste.get(part, 1.0) >= NOTICED
        if part == "constraint":
            flags["satisfies_constraint"] = not fault
        elif part in FLAG_OF_PART and fault:
            flags[FLAG_OF_PART[part]] = True
    flags = {name: value for name, value in flags.items() if name in asked}
    return {"likert": min(max(likert, LIKERT[0]), LIKERT[-1]), "flags": flags}


def _random_form(
    positions: Sequence[str], flags: Sequence[str], mood: np.random.Generator
) -> dict[str, Any]:
    """Any quality, any flag or none, any place."""
    ranks = [int(place) for place in mood.integers(len(positions), size=len(positions))]
    ratings = {
        p: {
            "likert": int(mood.integers(LIKERT[0], LIKERT[-1] + 1)),
            "flags": {flags[int(mood.integers(len(flags)))]: True} if flags else {},
        }
        for p in positions
    }
    return _form(ratings, groups_of(ranks, positions))


def _form(
    ratings: Mapping[str, Any], groups: Groups, *, unacceptable: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "ratings": dict(ratings),
        "rank_groups": groups,
        "unacceptable": list(unacceptable),
    }


def _seconds(worker: Worker, shown: Shown, mood: np.random.Generator) -> float:
    """How long the page is looked at: reading, deciding, and that no two tasks are alike."""
    texts = [text_of(shown.prompt), *shown.responses]
    words = sum(len(text.split()) for text in texts)
    seconds = words / WORDS_PER_SECOND + SECONDS_PER_RESPONSE * max(1, len(shown.responses))
    pace = float(np.exp(0.3 * mood.standard_normal()))
    return seconds * pace * (HASTE if worker.habit == "speeder" else 1.0)
