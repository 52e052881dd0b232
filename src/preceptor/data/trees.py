"""Open-Assistant's conversation trees, as one tree a row or one message a row."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from preceptor.data.conversations import GROUP, OUR_ROLES, Row, plain
from preceptor.data.records import Demonstration, Prompt, Ranking, messages_of
from preceptor.errors import DataError


def read_tree(row: Row, where: str, kind: type) -> Iterator[Row]:
    """What one tree holds of a kind; its id keeps all of it on one side of every split.

    Rankings: wherever two or more replies of the assistant were ranked (0 is their best).
    Demonstrations: its best-ranked reply, or the only one. Deleted and rejected messages are not
    there for anybody.
    """
    root = row["prompt"]
    if not isinstance(root, dict):
        raise DataError(f'{where}: "prompt" of a tree is its first message, an object.')
    if not _stands(root):
        return
    tree = str(row["message_tree_id"])
    kept = {key: row[key] for key in ("use_case", "labeler") if row.get(key)}
    meta = {"source": "oasst", GROUP: tree} | (row.get("meta") or {})
    for found in _below(root, [], where, kind):
        yield kept | found | {"meta": meta | found.pop("meta", {})}


def write_tree(record: Ranking | Demonstration) -> Iterator[Row]:
    """A tree whose one branch leads to the ranked replies."""
    replies: list[Row]
    if isinstance(record, Ranking):
        if len(set(record.ranks)) < len(record.ranks):
            raise DataError("oasst holds rankings without ties. Use scores or preceptor.")
        replies = [
            _message("assistant", text) | {"rank": rank - min(record.ranks)}
            for text, rank in zip(record.responses, record.ranks, strict=True)
        ]
    else:
        replies = [_message("assistant", record.response)]
    for turn in reversed(messages_of(record.prompt)):
        if turn["role"] == "system":
            raise DataError("oasst has no system turn. Use messages or preceptor.")
        message = _message(turn["role"], turn["content"]) | {"replies": replies}
        if turn["role"] == "assistant":
            message["context_only"] = True
        if record.user:
            message["user_id"] = record.user
        replies = [message]
    yield {"message_tree_id": record.meta.get(GROUP, "tree"), "prompt": replies[0]}


def trees_of_messages(rows: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Messages, a row each, put together to trees; a tree's messages stand one after another.

    Each tree comes with the place of its first message; a row that could not be read passes on.
    """
    tree: dict[str, Row] = {}
    place, current, root = "", None, None

    def finish() -> Iterator[tuple[str, Any]]:
        if root is not None:
            yield place, {"message_tree_id": current, "prompt": root}

    for where, row in rows:
        if not isinstance(row, dict) or "message_tree_id" not in row or "message_id" not in row:
            problem = DataError(f'{where}: a message needs "message_id" and "message_tree_id".')
            yield where, row if isinstance(row, DataError) else problem
            continue
        if row["message_tree_id"] != current:
            yield from finish()
            tree, place, current, root = {}, where, row["message_tree_id"], None
        message = dict(row) | {"replies": []}
        parent = row.get("parent_id")
        if parent is None and root is not None:
            told = f"the tree {current} has a first message already"
            yield where, DataError(f"{where}: {told}; this one must answer another.")
            continue
        if parent is None:
            root = message
        elif str(parent) in tree:
            tree[str(parent)]["replies"].append(message)
        else:
            yield where, DataError(f"{where}: the message it answers, {parent}, is not before it.")
            continue
        tree[str(row["message_id"])] = message
    yield from finish()


def _below(message: Row, before: list[Row], where: str, kind: type) -> Iterator[Row]:
    # A stack, not recursion: a tree may be deeper than Python's.
    waiting = [(message, before)]
    while waiting:
        message, before = waiting.pop()
        role = OUR_ROLES.get(str(message.get("role")))
        text = message.get("text")
        if role not in ("user", "assistant") or not isinstance(text, str):
            raise DataError(f'{where}: a message of the tree needs "text" and a known "role".')
        turns = [*before, {"role": role, "content": text}]
        replies = [r for r in message.get("replies") or [] if _stands(r)]
        if role == "user":
            yield from _asked(message, turns, replies, kind)
        waiting += [(reply, turns) for reply in reversed(replies)]


def _asked(message: Row, turns: list[Row], replies: list[Row], kind: type) -> Iterator[Row]:
    found: Row = {"prompt": plain(turns)}
    if message.get("user_id"):
        found["user"] = str(message["user_id"])
    if message.get("lang"):
        found["meta"] = {"lang": message["lang"]}
    ranks = [(rank, r) for r in replies if (rank := _rank(r.get("rank"))) is not None]
    ranked = [reply for _, reply in ranks]
    if kind is Prompt:
        yield found
    elif kind is Ranking and len(ranked) > 1:
        texts = [r.get("text") for r in ranked]
        yield found | {"responses": texts, "ranks": [rank + 1 for rank, _ in ranks]}
    elif kind is Demonstration and replies:
        best = min(ranks, key=lambda found: found[0])[1] if ranks else replies[0]
        if (ranked or len(replies) == 1) and not best.get("context_only"):
            yield found | {"response": best.get("text")}


def _stands(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    return not _is_true(message.get("deleted")) and not _is_false(message.get("review_result"))


# A table's cells are texts, and with an empty one among them its whole numbers come as 0.0.
def _is_true(value: Any) -> bool:
    return bool(value) and not _is_false(value)


def _is_false(value: Any) -> bool:
    return value is False or str(value).lower() in ("false", "0", "0.0")


def _rank(value: Any) -> int | None:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and not isinstance(value, bool) else None


def _message(role: str, text: str) -> Row:
    return {"text": text, "role": "prompter" if role == "user" else "assistant", "replies": []}
