"""Preferences out of other people's files: pairs (TRL, HH-RLHF, ShareGPT) and scores."""

import re
from collections.abc import Iterator
from typing import Any

from preceptor.data.conversations import Row, plain, turns_of
from preceptor.data.records import Ranking, messages_of
from preceptor.errors import DataError

_SPEAKERS = re.compile(r"\n\n(Human|Assistant): ?")
_TRANSCRIPT = re.compile(r"\s*Human: .*\n\nAssistant:\s*\Z", re.DOTALL)
"""A prompt in HH-RLHF's way, up to where the assistant is to go on."""


def read_pair(row: Row, where: str, kind: type) -> Iterator[Row]:
    """`chosen` and `rejected`: texts after a `prompt`, whole conversations, or HH transcripts.

    The prompt may be a transcript too, up to "Assistant:".
    Whole conversations share their turns up to the last, which is what was ranked.
    """
    row = dict(row)
    chosen, rejected, prompt = (row.pop(key, None) for key in ("chosen", "rejected", "prompt"))
    if isinstance(chosen, str) and isinstance(rejected, str) and prompt is None:
        chosen, rejected = (transcript_turns(text, where) for text in (chosen, rejected))
    if isinstance(prompt, list):
        prompt = plain(turns_of(prompt, where, "prompt"))
    if isinstance(chosen, str) and isinstance(rejected, str):
        if isinstance(prompt, str) and _TRANSCRIPT.match(prompt):
            *turns, _ = transcript_turns(prompt, where)  # the last one is still to be said
            prompt, chosen, rejected = plain(turns), chosen.strip(), rejected.strip()
        yield row | _ranked(prompt, chosen, rejected)
        return
    *context, response = turns_of(chosen, where, "chosen")
    *other_context, other = turns_of(rejected, where, "rejected")
    if plain(context) != plain(other_context):
        raise DataError(
            f"{where}: chosen and rejected part before their last turn. A ranking is of responses "
            "to one prompt."
        )
    for turn in (response, other):
        if turn["role"] != "assistant":
            raise DataError(f'{where}: the last turn of "chosen" and "rejected" is what is ranked.')
    if context and context[0]["role"] == "assistant" and prompt:
        prompt = [*messages_of(prompt), *plain(context)]
    elif context:  # in TRL's files a `prompt` beside whole conversations repeats their first turn
        prompt = plain(context)
    yield row | _ranked(prompt, response["content"], other["content"])


def write_pair(record: Ranking) -> Iterator[Row]:
    """Two texts after a prompt. More than two responses, or a tie, do not fit in pairs."""
    if sorted(record.ranks) != [1, 2]:
        raise DataError("pairs hold two responses without a tie. Use scores or preceptor.")
    chosen, rejected = (record.responses[record.ranks.index(rank)] for rank in (1, 2))
    yield {"prompt": record.prompt, "chosen": chosen, "rejected": rejected}


def write_conversation_pair(record: Ranking) -> Iterator[Row]:
    """The same as ShareGPT's three keys."""
    [row] = write_pair(record)
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    prompt = row.pop("prompt")
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    yield {
        "conversations": [{"from": names[t["role"]], "value": t["content"]} for t in turns],
        "chosen": {"from": "gpt", "value": row["chosen"]},
        "rejected": {"from": "gpt", "value": row["rejected"]},
    }


def read_conversation_pair(row: Row, where: str, kind: type) -> Iterator[Row]:
    """`conversations` so far, and two turns of which `chosen` was preferred."""
    row = dict(row)
    turns = turns_of(row.pop("conversations"), where, "conversations")
    if isinstance(row.get("system"), str) and row["system"]:
        turns = [{"role": "system", "content": row.pop("system")}, *turns]
    chosen, rejected = (turns_of([row.pop(key)], where, key) for key in ("chosen", "rejected"))
    yield row | _ranked(plain(turns), chosen[0]["content"], rejected[0]["content"])


def read_scores(row: Row, where: str, kind: type) -> Iterator[Row]:
    """`responses` with `scores`, a larger score being better; equal scores tie."""
    row = dict(row)
    scores = row.pop("scores")
    yield row | {"ranks": ranks_of(scores, where), "scores": scores}


def write_scores(record: Ranking) -> Iterator[Row]:
    """Ranks as scores: minus the place, unless the record still has the scores it was made from."""
    kept = record.meta.get("scores")
    scores = kept if _says_the_same(kept, record.ranks) else [-float(r) for r in record.ranks]
    yield {"prompt": record.prompt, "responses": record.responses, "scores": scores}


def read_ultrafeedback(row: Row, where: str, kind: type) -> Iterator[Row]:
    """`instruction` and `completions`, each a `response` with an `overall_score`."""
    row = dict(row)
    prompt, completions = row.pop("instruction"), row.pop("completions")
    if not isinstance(completions, list) or not all(
        isinstance(c, dict) and "response" in c and c.get("overall_score") is not None
        for c in completions
    ):
        raise DataError(f'{where}: each completion needs a "response" and an "overall_score".')
    scores = [completion["overall_score"] for completion in completions]
    models = [completion.get("model") for completion in completions]
    named = {"models": models} if all(models) and "models" not in row else {}
    responses = [completion["response"] for completion in completions]
    ranks = ranks_of(scores, where)
    yield row | named | {"prompt": prompt, "responses": responses, "ranks": ranks, "scores": scores}


def write_ultrafeedback(record: Ranking) -> Iterator[Row]:
    """As it is read; a prompt of several turns does not fit."""
    if not isinstance(record.prompt, str):
        raise DataError("ultrafeedback holds a prompt of one turn. Use scores or preceptor.")
    [row] = write_scores(record)
    models = record.meta.get("models")
    named = isinstance(models, list) and len(models) == len(record.responses)
    yield {
        "instruction": record.prompt,
        "completions": [
            {"response": response, "overall_score": score}
            | ({"model": models[at]} if named and isinstance(models, list) else {})
            for at, (response, score) in enumerate(
                zip(row["responses"], row["scores"], strict=True)
            )
        ],
    }


def ranks_of(scores: Any, where: str) -> list[int]:
    """Places by score: 1 is the largest, equal scores share a place (1, 2, 2, 4).

    Raises:
        DataError: not a list of finite numbers.
    """
    if not isinstance(scores, list) or not all(_is_number(score) for score in scores):
        raise DataError(f'{where}: "scores" must be a list of numbers, one a response.')
    return [1 + sum(other > score for other in scores) for score in scores]


def transcript_turns(text: str, where: str) -> list[Row]:
    """Turns of a HH-RLHF transcript: a blank line, "Human:" or "Assistant:", the words.

    Raises:
        DataError: it does not begin with "Human:" or "Assistant:".
    """
    pieces = _SPEAKERS.split("\n\n" + text.lstrip("\n"))
    if len(pieces) < 3 or pieces[0].strip():
        raise DataError(
            f'{where}: without a "prompt", "chosen" and "rejected" must be conversations or '
            'dialogues that begin with "Human:".'
        )
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": roles[speaker], "content": words.strip()}
        for speaker, words in zip(pieces[1::2], pieces[2::2], strict=True)
    ]


def _ranked(prompt: Any, chosen: str, rejected: str) -> Row:
    return {"prompt": prompt, "responses": [chosen, rejected], "ranks": [1, 2]}


def _says_the_same(scores: Any, ranks: list[int]) -> bool:
    try:
        return ranks_of(scores, "") == ranks
    except DataError:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
