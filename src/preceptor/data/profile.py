"""What a file of records holds and what is wrong with it, read once, row by row.

Memory grows by about 40 bytes a record, and by what labelers' rankings of the first `MOST_RANKED`
take, whatever the length of the texts.
"""

import contextlib
import hashlib
import itertools
import json
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.data.conversations import GROUP
from preceptor.data.duplicates import DuplicateIndex, asked_text, normal_form
from preceptor.data.files import origin_of
from preceptor.data.formats import (
    MOST_BROKEN,
    NONE_OF_THE_FIRST,
    Kind,
    general,
    kind_name,
    read_file,
    tell_format,
)
from preceptor.data.records import (
    Demonstration,
    Document,
    Messages,
    Prompt,
    Ranking,
    compared_text,
    messages_of,
)
from preceptor.data.rows import read_rows
from preceptor.errors import DataError
from preceptor.statistics import Estimate, bootstrap_statistic, pairwise_agreement, ranking_accuracy

Json = dict[str, Any]
MOST_RANKED = 20_000
"""Rankings on which agreement and intervals rest; more would take memory and tell nothing new."""
MOST_PLACES = 1000
"""Places that are kept of one problem; the rest is counted."""
_PLACE = re.compile(r"((?::\d+)?)(?:: )?(.*)", re.DOTALL)


@dataclass(frozen=True)
class Measure:
    """How long texts are, in what, and how long a prompt and its response may be together."""

    unit: str = "words"
    prompt: Callable[[str | Messages], int] = field(
        default=lambda prompt: sum(len(turn["content"].split()) for turn in messages_of(prompt))
    )
    response: Callable[[str], int] = field(default=lambda response: len(response.split()))
    context: int | None = None


@dataclass
class Problems:
    """Rules that were broken, how often, and where."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    first: dict[str, str] = field(default_factory=dict)

    def add(self, said: str, where: str, count: int = 1) -> None:
        """Note a place where a rule is broken; columns of lines are no part of a rule."""
        rule = general(said)
        if rule not in self.counts and len(self.counts) >= MOST_PLACES:
            rule = said = "another problem; mend those above first"
        self.first.setdefault(rule, said)
        self.counts[rule] += count
        if len(self.places[rule]) < MOST_PLACES:
            self.places[rule].append(where)

    def as_json(self) -> list[Json]:
        """Every rule with its count and places, the most frequent first."""
        return [
            {"rule": rule if count > 1 else self.first[rule], "count": count}
            | {"places": self.places[rule]}
            for rule, count in self.counts.most_common()
        ]


class Similar:
    """Texts with their lines, among which what is nearly the same is looked for."""

    def __init__(self) -> None:
        self._index = DuplicateIndex()
        self._lines = array("Q")  # a text's key is its place here

    def find(self, record: Any, kin: Container[str] = ()) -> tuple[str, int] | None:
        """By which rule the record repeats one of them, and the line of that."""
        found = self._index.find(_compared(record), kin=kin)
        return None if found is None else (found.rule, self._lines[int(found.of)])

    def add(self, record: Any, where: str) -> str:
        """Remember a record; its key."""
        key = str(len(self._lines))
        self._index.add(key, _compared(record))
        self._lines.append(_line(where))
        return key


def _compared(record: Any) -> str:
    return record.text if isinstance(record, Document) else asked_text(record.prompt)


@dataclass
class Training:
    """Prompts (or documents) and users of a training file, as sorted hashes.

    `similar` holds their texts, where what is nearly the same is looked for too.
    """

    path: str
    is_text: bool
    prompts: NDArray[np.uint64]
    lines: NDArray[np.uint64]
    users: set[str]
    similar: Similar | None = None


@dataclass
class _Seen:
    """What is kept of every record: hashes, lengths and line numbers."""

    prompts: "array[int]" = field(default_factory=lambda: array("Q"))
    records: "array[int]" = field(default_factory=lambda: array("Q"))
    lines: "array[int]" = field(default_factory=lambda: array("Q"))
    prompt_lengths: "array[int]" = field(default_factory=lambda: array("I"))
    response_lengths: "array[int]" = field(default_factory=lambda: array("I"))


def profile_file(
    path: str | Path,
    kind: Kind | None = None,
    *,
    format: str | None = None,
    measure: Measure | None = None,
    against: Training | None = None,
    near: bool = False,
) -> Json:
    """Everything `preceptor data check` says of a file, `errors` and `warnings` among it.

    With `near` also what is nearly the same as an earlier record, or begins like it for long; that
    takes about ten kilobytes of memory a record, and the text of each. The same is looked for in
    the training file where `against` was read with `near`.
    """
    measure = measure or Measure()
    alike = _Alike() if near else None
    errors, warnings, seen = Problems(), Problems(), _Seen()
    told: Json = {"path": str(path), "kind": None, "format": None, "rows": 0, "records": 0}
    labels = {"use_case": Counter[str](), "labeler": Counter[str](), "user": Counter[str]()}
    ranked = _Ranked()
    leaks = None if against is None else _Leaks(against)
    try:
        told["format"], kind = tell_format(path, kind, format=format)
        told["kind"] = kind_name(kind)
        chosen: Any = kind
        if against is not None and against.is_text != (kind is Document):
            raise DataError(
                f"{path}: it holds {kind_name(kind)}, and {against.path} holds "
                f"{'documents' if against.is_text else 'prompts'}. They cannot be compared."
            )
        for where, found in read_file(path, chosen, format=format):
            told["rows"] += 1
            if isinstance(found, DataError):
                errors.add(str(found).removeprefix(f"{where}: "), where)
                continue
            if not found:
                warnings.add(f"it has none of the {kind_name(kind)}.", where)
            for record in found:
                told["records"] += 1
                _note(record, where, seen, measure, warnings)
                for key, counter in labels.items():
                    if value := getattr(record, key, ""):
                        counter[value] += 1
                if alike is not None:
                    alike.add(record, where, warnings)
                if isinstance(record, Ranking):
                    ranked.add(record, seen.prompts[-1], where, warnings)
                if leaks is not None:
                    leaks.look_at(record, seen.prompts[-1], where, errors, warnings)
    except DataError as error:
        if told["format"] is not None or not _note_first_rows(path, error, told, errors):
            told_of = _PLACE.fullmatch(str(error).removeprefix(str(path)))
            assert told_of is not None  # it matches anything
            errors.add(told_of[2], f"{path}{told_of[1]}")
    if told["rows"] and not told["records"]:
        errors.add("there is no record in it.", str(path))
    prompts, records = _again(seen.prompts), _again(seen.records)
    told["repeated_prompts"], told["repeated_records"] = len(prompts), len(records)
    told["repeated_prompts_at"] = [f"{path}:{seen.lines[at]}" for at in prompts[:MOST_PLACES]]
    for at in records:
        warnings.add("the same record again.", f"{path}:{seen.lines[at]}")
    if leaks is not None:
        told["leaks"] = leaks.as_json()
    told["lengths"] = {"unit": measure.unit} | _lengths(seen)
    told["labels"] = {f"{key}s": dict(c.most_common(50)) for key, c in labels.items() if c}
    told["distinct"] = {f"{key}s": len(c) for key, c in labels.items() if c}
    if kind is Ranking and told["records"]:
        told["rankings"] = ranked.as_json()
    return told | {"errors": errors.as_json(), "warnings": warnings.as_json()}


def _note_first_rows(path: str | Path, error: DataError, told: Json, errors: Problems) -> bool:
    """Note all rows from which no format could be told; whether the error is one of theirs."""
    is_one = False
    with contextlib.suppress(DataError):  # of the whole file, as the error then is
        for where, row in itertools.islice(read_rows(path), MOST_BROKEN):
            told["rows"] += 1
            if isinstance(row, DataError):
                errors.add(str(row).removeprefix(f"{where}: "), where)
                is_one |= str(row) == str(error)
    if told["rows"] == MOST_BROKEN:
        errors.add(NONE_OF_THE_FIRST, str(path))
    return is_one


def training_prompts(
    path: str | Path, *, format: str | None = None, near: bool = False
) -> Training:
    """What of a training file must not be tested on; a format named for both may fit one alone.

    With `near` also what is nearly the same, for about ten kilobytes of memory a record.

    Raises:
        DataError: it has a broken row, of which nobody knows what it holds, or nothing at all.
    """
    format = None if format is None else _fitting(path, format)
    is_text = tell_format(path, format=format)[1] is Document
    kind: Any = Document if is_text else Prompt
    hashes, lines, users = array("Q"), array("Q"), set[str]()
    similar = Similar() if near else None
    for where, found in read_file(path, kind, format=format):
        if isinstance(found, DataError):
            raise found
        for record in found:
            for key in _keys(record):
                hashes.append(key)
                lines.append(_line(where))
            if not is_text and record.user:
                users.add(record.user)
            if similar is not None:
                similar.add(record, where)
    if not hashes:
        raise DataError(f"{path}: nothing in it to compare with.")
    prompts = np.frombuffer(hashes, dtype=np.uint64)
    order = prompts.argsort(kind="stable")
    places = np.frombuffer(lines, np.uint64)[order]
    return Training(str(path), is_text, prompts[order], places, users, similar)


def _fitting(path: str | Path, format: str) -> str | None:
    """The format where it fits the file's rows, or None: told by their keys."""
    try:
        tell_format(path, Prompt, format=format)
    except DataError:
        return None
    return format


class _Ranked:
    """What is summed up of rankings: K, ties, whether the longer one wins, who agrees with whom."""

    def __init__(self) -> None:
        self.sizes: Counter[int] = Counter()
        self.strict = self.tied = 0
        self.prompts, self.correct, self.total = array("Q"), array("d"), array("d")
        self.labeled: list[tuple[int, str, list[int]]] = []

    def add(self, record: Ranking, prompt: int, where: str, warnings: Problems) -> None:
        """Take a ranking into account."""
        size = len(record.ranks)
        lengths = [len(response) for response in record.responses]
        correct, total = ranking_accuracy(lengths, record.ranks)
        self.sizes[size] += 1
        self.strict += total
        self.tied += size * (size - 1) // 2 - total
        self.prompts.append(prompt)
        self.correct.append(correct)
        self.total.append(total)
        if not total:
            warnings.add("all responses are tied; it makes no pair to learn from.", where)
        if not all(response.strip() for response in record.responses):
            warnings.add("a response is empty.", where)
        ranks_of_text: dict[str, int] = {}
        for response, rank in zip(record.responses, record.ranks, strict=True):
            if ranks_of_text.setdefault(response, rank) != rank:
                warnings.add("one response stands twice, in different ranks.", where)
                break
        if record.labeler and len(self.labeled) < MOST_RANKED:
            # Labelers may have seen the responses in different orders.
            order = sorted(range(size), key=lambda at: record.responses[at])
            key = _hash([prompt, [record.responses[at] for at in order]])
            self.labeled.append((key, record.labeler, [record.ranks[at] for at in order]))

    def as_json(self) -> Json:
        """Sizes, ties, the baseline of length, agreement."""
        agreement = pairwise_agreement(self.labeled)
        several = len({labeler for _, labeler, _ in self.labeled}) > 1
        return {
            "responses": {str(size): count for size, count in sorted(self.sizes.items())},
            "strict_pairs": self.strict,
            "tied_pairs": self.tied,
            "longer_wins": self._longer_wins().as_dict(),
            "agreement": agreement.as_dict() if several else None,
        }

    def _longer_wins(self) -> Estimate:
        if not self.strict:
            return Estimate.undefined("there is no pair without a tie")
        _, prompt = np.unique(np.frombuffer(self.prompts, np.uint64), return_inverse=True)
        correct = np.bincount(prompt, np.frombuffer(self.correct))
        total = np.bincount(prompt, np.frombuffer(self.total))
        if len(correct) > MOST_RANKED:
            mean = float(correct.sum() / total.sum())
            reason = f"no interval for over {MOST_RANKED:,} prompts"
            return Estimate(mean, None, None, self.strict, len(correct), reason=reason)

        def share(weights: NDArray[np.float64]) -> float | None:
            return float(weights @ correct / (weights @ total)) if weights @ total else None

        return bootstrap_statistic(
            share, len(correct), n=self.strict, undefined="no pairs", num_resamples=1000
        )


class _Alike:
    """Records that repeat an earlier one, though not to the letter; of one origin they may."""

    def __init__(self) -> None:
        self.earlier = Similar()
        self.kin: dict[str, set[str]] = defaultdict(set)

    def add(self, record: Any, where: str, warnings: Problems) -> None:
        """Warn of what it repeats, and remember it."""
        grouped = not isinstance(record, Document) and GROUP in record.meta
        own = self.kin[origin_of(record)] if grouped else set[str]()
        found = self.earlier.find(record, own)
        if found and found[0] == "same":
            return  # told as a repeated prompt, or another labeler's ranking
        if found:
            rule, line = found
            warnings.add(f"it {SAID[rule].format('an earlier one')}.", f"{where} (line {line})")
        own.add(self.earlier.add(record, where))


SAID = {
    "same": "asks the same as {}",  # after other system turns
    "prefix": "begins as {} for long",
    "near": "is nearly the same as {}",
}


def _note(record: Any, where: str, seen: _Seen, measure: Measure, warnings: Problems) -> None:
    asked = record.text if isinstance(record, Document) else record.prompt
    responses: list[str] = []
    if isinstance(record, Demonstration):
        responses = [record.response]
    elif isinstance(record, Ranking):
        responses = record.responses
    length, others = measure.prompt(asked), [measure.response(r) for r in responses]
    seen.prompts.append(_hash(normal_form(compared_text(asked))))
    labeler = getattr(record, "labeler", "")
    ranks = getattr(record, "ranks", None)
    seen.records.append(_hash([asked, responses, ranks, labeler]))
    seen.lines.append(_line(where))
    seen.prompt_lengths.append(length)
    seen.response_lengths.extend(others)
    if isinstance(record, Document) or measure.context is None:
        return  # documents are packed, however long they are
    if length + max(others, default=0) > measure.context:
        together = "the prompt is" if isinstance(record, Prompt) else "prompt and response are"
        told = f"{together} longer than the context of {measure.context:,} {measure.unit}"
        warnings.add(f"{told}; training leaves it out.", where)


class _Leaks:
    """Records that are in the training file too, or nearly so."""

    def __init__(self, against: Training) -> None:
        self.against = against
        self.same = self.near = 0

    def look_at(
        self, record: Any, prompt: int, where: str, errors: Problems, warnings: Problems
    ) -> None:
        """Note what the record shares with the training file."""
        against = self.against
        line = self._line_of(record, prompt)
        if line is not None:
            self.same += 1
            errors.add(_leak(against), f"{where} (line {line} there)")
        elif against.similar is not None and (found := against.similar.find(record)):
            rule, line = found
            self.near += 1
            said = f"it {SAID[rule].format(f'one in {against.path}')}."
            warnings.add(said, f"{where} (line {line} there)")
        if not against.is_text and record.user and record.user in against.users:
            warnings.add(f"its user is in {against.path} too.", where)

    def as_json(self) -> Json:
        """Of which file, and how many records."""
        near = {} if self.against.similar is None else {"near": self.near}
        return {"of": self.against.path, "records": self.same} | near

    def _line_of(self, record: Any, prompt: int) -> int | None:
        prompts = self.against.prompts
        for key in _keys(record, prompt):
            at = int(np.searchsorted(prompts, np.uint64(key)))
            if at < len(prompts) and prompts[at] == key:
                return int(self.against.lines[at])
        return None


def _leak(against: Training) -> str:
    what = "text" if against.is_text else "prompt or its conversation"
    return f"its {what} is in {against.path} too."


def _keys(record: Any, prompt: int | None = None) -> Iterator[int]:
    """Hashes of the prompt and, where it is of a conversation or a few-shot prompt, of that."""
    if prompt is None:
        asked = record.text if isinstance(record, Document) else compared_text(record.prompt)
        prompt = _hash(normal_form(asked))
    yield prompt
    if isinstance(record.meta.get(GROUP), str):
        yield _hash([GROUP, record.meta[GROUP]])


def _again(hashes: "array[int]") -> NDArray[np.int64]:
    """Which are there again after their first."""
    if not hashes:
        return np.zeros(0, np.int64)
    values = np.frombuffer(hashes, dtype=np.uint64)
    order = values.argsort(kind="stable")
    return np.sort(order[1:][values[order][1:] == values[order][:-1]])


def _lengths(seen: _Seen) -> Json:
    return {"prompt": _spread(seen.prompt_lengths), "response": _spread(seen.response_lengths)}


def _spread(lengths: "array[int]") -> Json | None:
    if not lengths:
        return None
    values = np.frombuffer(lengths, dtype=np.uint32)
    low, median, high, longest = np.quantile(values, (0, 0.5, 0.9, 1))
    return {"min": int(low), "median": float(median), "p90": float(high), "max": int(longest)}


def _line(where: str) -> int:
    return int(where.rpartition(":")[2])


def _hash(found: Any) -> int:
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
