"""What a source (the miniature, the embedded real text, a user's files) hands to the pipeline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from preceptor.data.files import Documents
from preceptor.data.records import Demonstration, Document, Prompt, Ranking


@dataclass(frozen=True)
class Choice:
    """One item of a few-shot task: which continuation of `context` is the likeliest?

    `context` is raw text of the pretraining distribution, the worked examples included.
    """

    context: str
    choices: list[str]
    answer: int


@dataclass(frozen=True)
class Dataset:
    """Everything the stages read. A set that a source cannot give is empty.

    What a user's files hold stays on disk: it is read where it is asked for.
    """

    corpus_train: list[Document] | Documents = field(default_factory=list)
    corpus_valid: list[Document] | Documents = field(default_factory=list)
    demonstrations_train: Sequence[Demonstration] = field(default_factory=list)
    demonstrations_valid: Sequence[Demonstration] = field(default_factory=list)
    prompts_reward_train: Sequence[Prompt] = field(default_factory=list)
    prompts_reward_valid: Sequence[Prompt] = field(default_factory=list)
    prompts_ppo: Sequence[Prompt] = field(default_factory=list)
    prompts_valid: Sequence[Prompt] = field(default_factory=list)  # choose checkpoints here
    prompts_test: Sequence[Prompt] = field(default_factory=list)  # reported figures only
    rankings_train: Sequence[Ranking] = field(default_factory=list)
    rankings_valid: Sequence[Ranking] = field(default_factory=list)
    tasks: Mapping[str, list[Choice]] = field(default_factory=dict)
    attribution: str = ""  # markdown; written beside the data when not empty
    notes: list[str] = field(default_factory=list)  # what of a user's files was left out, and why


@dataclass(frozen=True)
class Judgement:
    """A judge's view of one response.

    `score` is in 0..1. `parts` has one number in 0..1 for each thing looked at (such as task,
    constraint, truth, polite, ending), or None where the prompt does not ask for it.
    """

    score: float
    parts: Mapping[str, float | None]


Judge = Callable[[Prompt, str], Judgement]


def as_json(judgement: Judgement) -> dict[str, Any]:
    """The judgement as it stands in response files."""
    return {"score": judgement.score, "parts": dict(judgement.parts)}
