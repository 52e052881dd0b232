"""What a prompt asks for and what a response says, prepared once for all parts of the rubric."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from preceptor.data.records import Prompt, messages_of, text_of
from preceptor.data.sentences import split_sentences
from preceptor.data.wording import content_words, words

NEEDED_WORDS = {
    "open_qa": (5, 35),
    "trivia": (1, 12),
    "closed_qa": (1, 18),
    "generation": (6, 45),
    "method": (10, 45),
    "extraction": (1, 20),
    "classification": (1, 6),
    "summarization": (2, 25),
    "rewriting": (4, 30),
    "brainstorming": (2, 25),
    "chat": (2, 35),
    "other": (5, 35),
    "any": (2, 60),
}
"""Least and most words by task; `any` is a prompt that says nothing of its task."""


@dataclass(frozen=True)
class Asked:
    """The task of a prompt; what a prompt does not have is empty or None."""

    kind: str
    form: str  # sentence, phrase, list or method
    prompt_text: str
    prompt_stems: frozenset[str]
    earlier_turns: tuple[str, ...] = ()
    passage: str = ""
    reference: str = ""
    answers: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    keywords: frozenset[str] = frozenset()
    items: int | None = None
    constraint: Mapping[str, Any] | None = None
    targets: frozenset[str] = field(default=frozenset())  # stems that a right answer shares

    @property
    def needed_words(self) -> tuple[int, int]:
        kind = self.form if self.form in NEEDED_WORDS else self.kind
        low, high = NEEDED_WORDS.get(kind, NEEDED_WORDS["any"])
        return (1, high) if self.form == "phrase" else (low, high)


@dataclass(frozen=True)
class Answer:
    """A response and its pieces."""

    text: str
    words: tuple[str, ...]
    stems: tuple[str, ...]
    sentences: tuple[str, ...]
    items: tuple[str, ...]

    @property
    def short_items(self) -> tuple[str, ...]:
        """The items that can be names; a sentence between commas is none."""
        return tuple(item for item in self.items if len(words(item)) <= 7)

    @classmethod
    def of(cls, response: str) -> "Answer":
        text = response.strip()
        # Lines end sentences too, or a list would be one.
        lines = [line for line in text.split("\n") if line.strip()]
        sentences = tuple(s for line in lines for s in split_sentences(line))
        stems = tuple(content_words(text))
        return cls(text, tuple(words(text)), stems, sentences, list_items(text))


BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")


def list_items(text: str) -> tuple[str, ...]:
    """The items of a list: its lines when they are bulleted, else what commas and "and" part."""
    lines = [line for line in text.split("\n") if line.strip()]
    bulleted = [BULLET.sub("", line).strip() for line in lines if BULLET.match(line)]
    if bulleted:
        return tuple(bulleted)
    pieces = re.split(r",\s*(?:and\s+|or\s+)?|;\s*|\n|\s+and\s+", text.rstrip(" .!"))
    return tuple(piece.strip(" .") for piece in pieces if piece.strip(" ."))


def asked_of(prompt: Prompt) -> Asked:
    """Read a prompt's task from its meta; without one, from its words."""
    task: Mapping[str, Any] = prompt.meta.get("task") or {}
    turns = messages_of(prompt.prompt)
    said = " ".join(turn["content"] for turn in turns)
    passage, reference = task.get("passage") or "", task.get("reference") or ""
    if not task and prompt.meta.get("reference"):  # a user's own reference text
        reference = str(prompt.meta["reference"])
    answers, entries = tuple(task.get("answers") or ()), tuple(task.get("entries") or ())
    keywords = frozenset(task.get("keywords") or ())
    prompt_stems = frozenset(content_words(said))
    return Asked(
        kind=task.get("kind") or "any",
        form=task.get("form") or "any",
        prompt_text=text_of(prompt.prompt) if len(turns) > 1 else said,
        prompt_stems=prompt_stems,
        earlier_turns=tuple(t["content"] for t in turns if t["role"] == "assistant"),
        passage=passage,
        reference=reference,
        answers=answers,
        entries=entries,
        choices=tuple(task.get("choices") or ()),
        keywords=keywords,
        items=task.get("items"),
        constraint=task.get("constraint"),
        targets=_targets(answers, entries, keywords, reference, passage, prompt_stems),
    )


def _targets(
    answers: tuple[str, ...],
    entries: tuple[str, ...],
    keywords: frozenset[str],
    reference: str,
    passage: str,
    prompt_stems: frozenset[str],
) -> frozenset[str]:
    if answers or entries:
        return frozenset(content_words(" ".join([*answers, *entries])))
    if passage:
        return frozenset(content_words(reference or passage))
    if reference:  # an open question: what the prompt says already is no answer
        return frozenset(content_words(reference)) - prompt_stems
    return keywords or prompt_stems
