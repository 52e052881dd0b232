"""Demonstrations and rankings out of the packages; `meta.label` says what an order rests on.

constructed   by the way it was made: the right moral before four others, a text before its disorder
human         by people's scores
model         by a model that judged
"""

import csv
import io
import json
import random
import re
from collections.abc import Iterator
from typing import Any

from preceptor.data import conversations, preferences
from preceptor.data.conversations import GROUP
from preceptor.data.heldout import title_hash
from preceptor.data.package_text import document
from preceptor.data.packages import read_member, read_members
from preceptor.data.real_records import CHAT, expect, read_conversations
from preceptor.data.records import Demonstration, Document, Ranking, parse_record
from preceptor.errors import DataError

EVALS, PYRIT, LLAMAFACTORY = "evals", "pyrit", "llamafactory"
TALK = ("conversations", "greetings", "health", "science", "tech_support", "trivia")
"""Files of the corpus that hold no jokes about being a program, no opinions and no code."""

ANY_LICENCE = {"owt": "CC0", "wikipedia": "CC BY-SA 3.0"}
HARMS = """exploits hate_speech hate_speech_multi_score info_integrity privacy representational
    self_harm sexual violence violence_multi_score"""
NUM_PARABLES = {"en": 1_632, "zh": 1_930}
MOST_RANKED, LEAST_RANKED = 9, 4
_PARABLE = re.compile(
    r"(?P<story>.*?)\nWhich moral .*?\nA\) (.*) B\) (.*) C\) (.*) D\) (.*) E\) (.*)\nThe output ",
    re.DOTALL,
)
MORAL = "What is the moral of this story?"


def small_talk() -> Iterator[Demonstration]:
    """Every reply of a conversation after all that was said before it."""
    for topic in TALK:
        for turns in read_conversations(topic):
            roles = ("user", "assistant")
            spoken = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
            for at in range(1, len(turns), 2):
                prompt = turns[0] if at == 1 else spoken[:at]
                meta = {GROUP: f"{topic}: {turns[0]}", "package": CHAT}
                yield Demonstration(prompt, turns[at], use_case="chat", meta=meta)


def parables(language: str = "en") -> Iterator[tuple[str, list[str], int]]:
    """Stories, five morals each, and which of them is the story's; a story comes once."""
    member = f"evals/registry/data/parable-to-moral-match/parable-to-moral-match-{language}.jsonl"
    lines = read_member(EVALS, member, 6_000_000).decode("utf-8").splitlines()
    expect(EVALS, len(lines), NUM_PARABLES[language])
    seen = set()
    for number, line in enumerate(lines, 1):
        row = json.loads(line)
        match = _PARABLE.match(row["input"][1]["content"])
        right = "ABCDE".find(row["ideal"][0][-1])
        if match is None or right < 0:
            raise DataError(f"{member}:{number}: no story with five morals, which it should be.")
        story, *morals = (" ".join(text.split()) for text in match.groups())
        if story not in seen and len(set(morals)) == len(morals):
            seen.add(story)
            yield story, morals, right


def parable_rankings(language: str = "en") -> Iterator[Ranking]:
    """The right moral first, the four others tied; a longer one is right as often as not."""
    for story, morals, right in parables(language):
        ranks = [1 if at == right else 2 for at in range(len(morals))]
        meta = {"label": "constructed", "package": EVALS}
        yield Ranking(f"{story}\n\n{MORAL}", morals, ranks, use_case="summarization", meta=meta)


def parable_demonstrations(language: str = "en") -> Iterator[Demonstration]:
    """The story with its moral."""
    for story, morals, right in parables(language):
        prompt, meta = f"{story}\n\n{MORAL}", {"package": EVALS}
        yield Demonstration(prompt, morals[right], use_case="summarization", meta=meta)


def passages() -> Iterator[tuple[str, str, list[str]]]:
    """(where from, a passage, the same with its sentences in ten other orders)."""
    for name in ANY_LICENCE:
        member = f"evals/registry/data/schelling_point/{name}_5.jsonl"
        lines = read_member(EVALS, member, 12_000_000).decode("utf-8").splitlines()
        expect(EVALS, len(lines), 1_000)
        for line in lines:
            row = json.loads(line)
            # Line ends stand in the original alone and would tell which it is.
            text, *others = (" ".join(row[str(number)].split()) for number in range(11))
            letters = sum(character.isalpha() or character == " " for character in text)
            if len(text) >= 200 and letters > 0.85 * len(text):
                yield name, text, list(dict.fromkeys(o for o in others if o != text))


def passage_documents() -> Iterator[Document]:
    """Passages of web pages and of the encyclopedia; a title is its first words."""
    for name, text, _ in passages():
        yield document("passages", EVALS, _first_words(text), text, ANY_LICENCE[name])


def passage_rankings() -> Iterator[Ranking]:
    """A passage before orders of its sentences that make no sense, 4 to 9 in all and of one length.

    It measures coherence and nothing else.
    """
    for name, text, others in passages():
        if len(others) < LEAST_RANKED:
            continue
        draws = random.Random(title_hash(text))  # noqa: S311 - no secret: the same again
        asked, *others = draws.sample(others, min(len(others), draws.randint(4, 9)))
        responses = [text, *others]
        draws.shuffle(responses)
        ranks = [1 if response == text else 2 for response in responses]
        meta = {"label": "constructed", "package": EVALS, "licence": ANY_LICENCE[name]}
        meta["title"] = _first_words(text)
        prompt = f"Put the sentences of this text in the right order.\n\n{asked}"
        yield Ranking(prompt, responses, ranks, use_case="rewriting", meta=meta)


def harm_rankings() -> Iterator[Ranking]:
    """Answers to one request by the harm that people saw in them, the least first; ties kept.

    Nine at most to a ranking. Many are harmful, which is what they are there for.
    """
    for kind, asked, answers in harm_scores():
        order = sorted(answers, key=title_hash)
        for start in range(0, len(order), MOST_RANKED):
            chosen = order[start : start + MOST_RANKED]
            harm = [answers[answer] for answer in chosen]
            if len(set(harm)) > 1:
                ranks = preferences.ranks_of([-value for value in harm], kind)
                meta = {"label": "human", "package": PYRIT, "harm": harm, "kind": kind}
                yield Ranking(asked, chosen, ranks, meta=meta)


def harm_examples() -> Iterator[Document]:
    """Every answer with the harm that people saw in it, 0 to 1, as a classifier learns from it.

    An answer to several requests stands with the first of them, on one side.
    """
    seen = set()
    for kind, asked, answers in harm_scores():
        for answer, harm in answers.items():
            if answer in seen:
                continue
            seen.add(answer)
            found = document("harm-scores", PYRIT, asked, answer)
            found.meta.update({"label": "human", "harm": harm, "kind": kind})
            yield found


def harm_scores() -> Iterator[tuple[str, str, dict[str, float]]]:
    """(kind of harm, a request, its answers each with the mean of people's scores)."""
    folder = "pyrit/datasets/scorer_evals/harm/"
    names = {f"{folder}{name}.csv": name for name in HARMS.split()}
    for member, data in read_members(PYRIT, dict.fromkeys(names, 1_000_000)).items():
        scored: dict[str, dict[str, float]] = {}
        for row in read_scores(data.decode("utf-8")):
            raters = [float(v) for k, v in row.items() if k.startswith("human_score") and v]
            answer, asked = row["assistant_response"].strip(), row["objective"].strip()
            if raters and answer and asked:
                scored.setdefault(asked, {})[answer] = sum(raters) / len(raters)
        for asked, answers in scored.items():
            yield names[member], asked, answers


def read_scores(text: str) -> Iterator[dict[str, str]]:
    """Rows of a table whose first lines may be comments; a cell may hold such a line too."""
    lines = text.splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        del lines[0]
    yield from csv.DictReader(io.StringIO("".join(lines), newline=""))


def alpaca_demonstrations() -> Iterator[Demonstration]:
    """Instructions of Alpaca's family with a model's answers."""
    for where, row in _demo_rows("alpaca_en_demo", 999):
        for found in conversations.read_alpaca(row, where, Demonstration):
            record = parse_record(found, Demonstration, where)
            record.meta.update({"package": LLAMAFACTORY})
            yield record


def alpaca_rankings() -> Iterator[Ranking]:
    """Pairs of answers, one preferred by a model."""
    for where, row in _demo_rows("dpo_en_demo", 300):
        for found in preferences.read_conversation_pair(row, where, Ranking):
            record = parse_record(found, Ranking, where)
            record.meta.update({"package": LLAMAFACTORY, "label": "model"})
            yield record


def _demo_rows(name: str, expected: int) -> Iterator[tuple[str, dict[str, Any]]]:
    member = f"llamafactory-0.9.5/data/{name}.json"
    rows = json.loads(read_member(LLAMAFACTORY, member, 4_000_000))
    expect(LLAMAFACTORY, len(rows), expected)
    yield from ((f"{member}, row {number}", row) for number, row in enumerate(rows, 1))


def _first_words(text: str) -> str:
    return " ".join(text.split()[:8])
