"""Conversations out of other people's files: messages, ShareGPT, Alpaca, few-shot.

Each reader turns a row into rows of our own keys; every other key of the row is kept. A
conversation with n assistant turns becomes n demonstrations, each turn after all that was said
before it: the loss then counts assistant turns only, and each of them once.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from preceptor.data.records import Demonstration, Messages, Prompt, messages_of
from preceptor.errors import DataError

Row = dict[str, Any]

GROUP = "split_group"
"""In `meta`: examples with one value are of one origin and stay on one side of every split."""

OUR_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "model": "assistant",
}  # fmt: skip


def turns_of(found: Any, where: str, key: str = "messages") -> list[Row]:
    """Turns with our roles and text as content; "from"/"value" of ShareGPT count as well.

    Raises:
        DataError: not a list of turns, a role that is nobody's (a tool's), content that is no text.
    """
    if not isinstance(found, list) or not found:
        raise DataError(f'{where}: "{key}" must be a list of turns.')
    turns = []
    for turn in found:
        if not isinstance(turn, dict):
            raise DataError(f'{where}: "{key}" has a turn that is no object.')
        said = turn.get("role", turn.get("from"))
        role = OUR_ROLES.get(said) if isinstance(said, str) else None
        if role is None:
            known = ", ".join(OUR_ROLES)
            raise DataError(f'{where}: "{key}" has a turn of {said!r}. Roles known: {known}.')
        content = turn.get("content", turn.get("value"))
        if isinstance(content, list):
            content = _joined_parts(content, where)
        if not isinstance(content, str):
            raise DataError(f'{where}: "{key}" has a turn of {said!r} without text.')
        trained = turn.get("weight") != 0 and turn.get("train", True) is not False
        turns.append({"role": role, "content": content, "trained": trained})
    return turns


def plain(turns: list[Row]) -> str | Messages:
    """Turns as a prompt; one user turn alone is a text."""
    if len(turns) == 1 and turns[0]["role"] == "user":
        return str(turns[0]["content"])
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def group_id(origin: Any) -> str:
    """A short name for one origin, the same wherever it is read."""
    text = json.dumps(origin, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()


def grouped(rows: list[Row], rest: Mapping[str, Any], origin: Any) -> Iterator[Row]:
    """The rows with what else the original held; several are marked as of one origin."""
    meta = rest.get("meta") or {}
    for row in rows:
        if len(rows) > 1 and GROUP not in meta:
            yield {**rest, **row, "meta": {**meta, GROUP: group_id(origin)}}
        else:
            yield {**rest, **row}


def read_conversation(row: Row, where: str, kind: type, key: str) -> Iterator[Row]:
    """Demonstrations of a whole conversation; as prompts, what the assistant was asked each time.

    An assistant turn of weight 0 is context only, as in OpenAI's files.
    """
    turns = turns_of(row[key], where, key)
    rest = {name: value for name, value in row.items() if name != key}
    if rest.get("system") and turns[0]["role"] != "system" and isinstance(rest["system"], str):
        turns = [{"role": "system", "content": rest.pop("system")}, *turns]
    found: list[Row] = []
    asked = False  # what the assistant says before anybody asks is no response
    for at, turn in enumerate(turns):
        asked = asked or turn["role"] == "user"
        if turn["role"] == "assistant" and turn["trained"] and asked:
            response = {} if kind is Prompt else {"response": turn["content"]}
            found.append({"prompt": plain(turns[:at])} | response)
    if kind is Prompt and turns[-1]["role"] == "user":
        found.append({"prompt": plain(turns)})
    if not found:
        raise DataError(f'{where}: "{key}" has no assistant turn to learn from.')
    yield from grouped(found, rest, [(t["role"], t["content"]) for t in turns])


def read_messages(row: Row, where: str, kind: type) -> Iterator[Row]:
    """OpenAI's `messages`."""
    return read_conversation(row, where, kind, "messages")


def read_sharegpt(row: Row, where: str, kind: type) -> Iterator[Row]:
    """ShareGPT's `conversations`."""
    return read_conversation(row, where, kind, "conversations")


def write_messages(record: Demonstration) -> Iterator[Row]:
    """One conversation, in which only the response is trained on."""
    context = [
        turn | {"weight": 0} if turn["role"] == "assistant" else dict(turn)
        for turn in messages_of(record.prompt)
    ]
    yield {"messages": [*context, {"role": "assistant", "content": record.response}]}


def write_sharegpt(record: Demonstration) -> Iterator[Row]:
    """The same with ShareGPT's names."""
    [row] = write_messages(record)
    yield {"conversations": [_sharegpt_turn(turn) for turn in row["messages"]]}


def read_alpaca(row: Row, where: str, kind: type) -> Iterator[Row]:
    """Instruction and input as prompt, the output as response; `system` and `history` before it."""
    row = dict(row)
    response = row.pop("output")
    parts = [row.pop(key, None) or "" for key in ("instruction", "input")]
    if not all(isinstance(part, str) for part in parts):
        raise DataError(f'{where}: "instruction" and "input" must be texts.')
    prompt: str | Messages = "\n\n".join(part for part in parts if part.strip())
    history, system = row.pop("history", None) or [], row.pop("system", None)
    if history or system:
        turns: Messages = [{"role": "system", "content": system}] if system else []
        for pair in history:
            if not isinstance(pair, list) or len(pair) != 2:
                raise DataError(f'{where}: "history" must be a list of [question, answer].')
            turns += [{"role": "user", "content": pair[0]}]
            turns += [{"role": "assistant", "content": pair[1]}]
        prompt = [*turns, {"role": "user", "content": str(prompt)}]
    yield row | {"prompt": prompt, "response": response}


def write_alpaca(record: Demonstration) -> Iterator[Row]:
    """The prompt as instruction; turns before the last as `system` and `history`."""
    *before, last = messages_of(record.prompt)
    row: Row = {"instruction": last["content"], "input": "", "output": record.response}
    if before and before[0]["role"] == "system":
        row["system"] = before.pop(0)["content"]
    roles = [turn["role"] for turn in before]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise DataError("alpaca holds turns of user and assistant in alternation. Use messages.")
    texts = [turn["content"] for turn in before]
    if texts:
        row["history"] = [[texts[i], texts[i + 1]] for i in range(0, len(texts), 2)]
    yield row


def read_completion(row: Row, where: str, kind: type) -> Iterator[Row]:
    """TRL's `prompt` and `completion`, both texts or both turns; only the completion is learnt."""
    row = dict(row)
    prompt, completion = row.pop("prompt"), row.pop("completion")
    if isinstance(completion, str):
        if isinstance(prompt, list):
            prompt = plain(turns_of(prompt, where, "prompt"))
        yield row | {"prompt": prompt, "response": completion}
        return
    before = messages_of(prompt) if isinstance(prompt, str) else prompt
    turns = [turn | {"weight": 0} for turn in turns_of(before, where, "prompt")]
    turns += turns_of(completion, where, "completion")
    yield from read_conversation(row | {"completion": turns}, where, kind, "completion")


def write_completion(record: Demonstration) -> Iterator[Row]:
    """The same two keys."""
    if isinstance(record.prompt, str):
        yield {"prompt": record.prompt, "completion": record.response}
        return
    response = {"role": "assistant", "content": record.response}
    yield {"prompt": record.prompt, "completion": [response]}


def read_few_shot(row: Row, where: str, kind: type) -> Iterator[Row]:
    """K pairs become K examples, each with the other K - 1 as context (InstructGPT section 3.2).

    The paper leaves the layout open; here the instruction comes first, then each pair's query and
    response a line apart, two lines between pairs, and the example's own query last.
    """
    row = dict(row)
    instruction, pairs = row.pop("instruction"), row.pop("pairs")
    if not isinstance(instruction, str) or not isinstance(pairs, list) or not pairs:
        raise DataError(f'{where}: "instruction" is a text and "pairs" a list of pairs.')
    for pair in pairs:
        texts = [pair.get(key) for key in ("query", "response")] if isinstance(pair, dict) else []
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise DataError(f'{where}: each of "pairs" needs a "query" and a "response".')
    found = []
    for at, pair in enumerate(pairs):
        others = [f"{o['query']}\n{o['response']}" for o in (*pairs[:at], *pairs[at + 1 :])]
        parts = [instruction, *others, pair["query"]]
        found.append(
            {"prompt": "\n\n".join(p for p in parts if p.strip()), "response": pair["response"]}
        )
    yield from grouped(found, row, [instruction, pairs])


def _joined_parts(parts: list[Any], where: str) -> str:
    texts = []
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text":
            told = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise DataError(f"{where}: a turn holds {told!r}; only text can be trained on.")
        texts.append(str(part.get("text", "")))
    return "\n".join(texts)


def _sharegpt_turn(turn: Mapping[str, Any]) -> Row:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    weight = {"weight": turn["weight"]} if "weight" in turn else {}
    return {"from": names[turn["role"]], "value": turn["content"]} | weight
