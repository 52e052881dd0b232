"""The four records that people and programs hand to Preceptor, and their JSONL files.

    document       {"text": "...", "source": "..."}
    prompt         {"prompt": "..." | [messages], "user": "...", "use_case": "..."}
    demonstration  {"prompt": ..., "response": "..."}
    ranking        {"prompt": ..., "responses": [...], "ranks": [1, 2, 2, 4], "labeler": "..."}

Smaller rank is better, equal ranks tie. Keys that a record does not know are kept in `meta`.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from preceptor.errors import DataError

Messages = list[dict[str, str]]
"""A conversation: [{"role": "user", "content": "..."}, ...]; the last turn is the user's."""

ROLES = ("system", "user", "assistant")

MOST_NESTED = 200
"""Levels of a JSON value; what goes deeper is no record, and could not be written again."""
DECODER = json.JSONDecoder(parse_constant=lambda _: None)
"""Reads NaN and Infinity, which are no JSON and which pandas writes, as null."""

PLAIN_CHAT_TEMPLATE = (
    "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""For models that bring no template: a dialogue as ordinary text, one turn a line."""


@dataclass(frozen=True)
class Document:
    """A piece of pretraining text."""

    text: str
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prompt:
    """What a user asks: one text, or the turns of a conversation so far."""

    prompt: str | Messages
    user: str = ""
    use_case: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Demonstration:
    """A prompt with the response a person would want."""

    prompt: str | Messages
    response: str
    user: str = ""
    use_case: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranking:
    """K responses to one prompt in one labeler's order; ranks[i] belongs to responses[i]."""

    prompt: str | Messages
    responses: list[str]
    ranks: list[int]
    labeler: str = ""
    user: str = ""
    use_case: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


Record = TypeVar("Record", Document, Prompt, Demonstration, Ranking)
KEYS: dict[Any, frozenset[str]] = {
    kind: frozenset(own.name for own in fields(kind)) - {"meta"}
    for kind in (Document, Prompt, Demonstration, Ranking)
}
"""Of each kind; whatever else a row has is kept in `meta`."""


def messages_of(prompt: str | Messages) -> Messages:
    """The prompt as a conversation; a plain text is one user turn."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def text_of(prompt: str | Messages) -> str:
    """The prompt as one text for people, for hashing and for word counts."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)


def compared_text(prompt: str | Messages) -> str:
    """The prompt as one text to compare prompts by: one user turn alone is what it says."""
    turns = messages_of(prompt)
    alone = len(turns) == 1 and turns[0]["role"] == "user"
    return turns[0]["content"] if alone else text_of(turns)


def read_records(path: str | Path, kind: type[Record]) -> list[Record]:
    """Read a JSONL file; a broken line is a `DataError` that names file, line and rule."""
    path = Path(path)
    require_records_file(path, kind)
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if line.strip():
            where = f"{path}:{number}"
            records.append(parse_record(parse_line(line, where), kind, where))
    if not records:
        raise no_records_in(path, kind)
    return records


def require_records_file(path: Path, kind: type) -> None:
    """Refuse a path where no file is."""
    if not path.is_file():
        raise DataError(
            f"{path}: no such file. A JSONL file of {kind.__name__.lower()}s is needed."
        )


def no_records_in(path: Path, kind: type) -> DataError:
    """The error for a file without a line."""
    return DataError(f"{path}: no records in it. Each line must be a {kind.__name__.lower()}.")


def parse_line(line: bytes, where: str) -> Any:
    """The JSON value of one line; what it is not, a `DataError` says with the place."""
    try:
        text = line.decode("utf-8")
        row = DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON ({error.msg}, column {error.colno}). "
            "Each line must be one JSON object."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: JSON that is nested too deep or holds a number too long."
        ) from error
    return checked_value((row, text), where)


def checked_value(found: tuple[Any, str], where: str) -> Any:
    """A JSON value with the text it was read from, held to what can be written again.

    Raises:
        DataError: half a surrogate pair in it, or lists in lists in lists without end.
    """
    row, text = found
    if text.count("[") + text.count("{") > MOST_NESTED and not _is_shallow(row):
        raise DataError(f"{where}: JSON that is nested too deep: over {MOST_NESTED} levels.")
    if ("\\ud" in text or "\\uD" in text) and not is_text(row):
        raise DataError(f"{where}: half a surrogate pair, which is no character.")
    return row


def _is_shallow(row: Any) -> bool:
    level = [row]
    for _ in range(MOST_NESTED):
        below = [
            v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)
        ]
        level = [inner for values in below for inner in values]
    return not any(isinstance(value, dict | list) for value in level)


def parse_record(row: Any, kind: type[Record], where: str) -> Record:
    """Turn one JSON object into a record, or say in a `DataError` which rule it breaks."""
    name = kind.__name__.lower()
    if not isinstance(row, dict):
        raise DataError(f"{where}: a {name} is a JSON object, this is {type(row).__name__}.")
    known = KEYS[kind]
    if not isinstance(row.get("meta") or {}, dict):
        raise DataError(f'{where}: "meta" must be an object, it is {type(row["meta"]).__name__}.')
    beside = {k: v for k, v in row.items() if k not in known | {"meta"} and v is not None}
    meta = dict(row.get("meta") or {}) | beside
    values: dict[str, Any] = {key: row[key] for key in known & row.keys() if row[key] is not None}
    if kind is Document:
        _require_text(values, "text", name, where)
    else:
        _require_prompt(values, name, where)
    if kind is Demonstration:
        _require_text(values, "response", name, where)
    if kind is Ranking:
        _require_ranking(values, where)
    for key in known - {"prompt", "responses", "ranks"}:
        if key in values and not isinstance(values[key], str):
            raise DataError(f'{where}: "{key}" must be text, it is {type(values[key]).__name__}.')
    return kind(**values, meta=meta)


def write_records(path: str | Path, records: Iterable[Any]) -> str:
    """Write records (or mappings) as JSONL, whole or not at all; returns the file's sha256."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        for record in records:
            line = json_line(record)
            digest.update(line)
            file.write(line)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return digest.hexdigest()


def json_line(record: Any) -> bytes:
    """A record, or a mapping, as a line of JSONL."""
    row = dict(record if isinstance(record, Mapping) else vars(record))
    if row.get("meta") == {}:
        del row["meta"]
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def manifest_path(path: Path) -> Path:
    """Where the label store says what it exported into a file."""
    return path.with_name(path.name.removesuffix(".jsonl") + ".manifest.json")


def digest_in_name(path: Path) -> str | None:
    """The beginning of a sha256 that an exported file has in its name, 12 digits."""
    found = re.search(r"-([0-9a-f]{12})\.jsonl$", path.name)
    return found and found[1]


def differs_from_its_export(path: Path) -> bool:
    """Whether a file that has the name and the manifest of an export is another one by now."""
    digest = digest_in_name(path) if manifest_path(path).is_file() else None
    return digest is not None and not file_hash(path).startswith(digest)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def ranking_key(ranking: Ranking) -> str:
    """The same for all labelers' rankings of the same responses to a prompt, for no others."""
    return json.dumps([ranking.prompt, ranking.responses])


def file_hash(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_text(row: Any) -> bool:
    """Whether every text in it can be written as UTF-8; half a surrogate pair cannot."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _require_text(values: dict[str, Any], key: str, name: str, where: str) -> None:
    if key not in values:
        raise DataError(f'{where}: a {name} needs "{key}".')
    told = values[key]
    if told is not None and not isinstance(told, str):
        raise DataError(f'{where}: "{key}" must be text, it is {type(told).__name__}.')
    if not (told or "").strip():
        raise DataError(f'{where}: "{key}" is empty. A {name} needs text there.')


def _require_prompt(values: dict[str, Any], name: str, where: str) -> None:
    prompt = values.get("prompt")
    if prompt is None:
        raise DataError(f'{where}: a {name} needs "prompt".')
    if isinstance(prompt, str):
        if not prompt.strip():
            raise DataError(f'{where}: "prompt" is empty. A {name} needs text there.')
        return
    if not isinstance(prompt, list) or not prompt:
        raise DataError(f'{where}: "prompt" must be text or a list of messages.')
    for turn in prompt:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            raise DataError(f'{where}: each message needs a "role", one of {", ".join(ROLES)}.')
        if not isinstance(turn.get("content"), str) or not turn["content"].strip():
            raise DataError(f'{where}: a message has empty "content".')
    if prompt[-1]["role"] != "user":
        raise DataError(f"{where}: the last message must be the user's; a response follows it.")


def _require_ranking(values: dict[str, Any], where: str) -> None:
    responses, ranks = values.get("responses"), values.get("ranks")
    if not isinstance(responses, list) or not all(isinstance(r, str) for r in responses):
        raise DataError(f'{where}: "responses" must be a list of texts.')
    if not isinstance(ranks, list) or not all(
        isinstance(r, int) and not isinstance(r, bool) for r in ranks
    ):
        raise DataError(f'{where}: "ranks" must be a list of whole numbers, one a response.')
    if len(responses) != len(ranks):
        raise DataError(
            f"{where}: {len(responses)} responses and {len(ranks)} ranks; one rank each."
        )
    if any(abs(rank) >= 2**31 for rank in ranks):
        raise DataError(
            f'{where}: "ranks" are places such as 1, 2, 3; one is over two thousand million.'
        )
    if len(responses) < 2:
        raise DataError(
            f"{where}: a ranking compares at least 2 responses, this has {len(responses)}."
        )
