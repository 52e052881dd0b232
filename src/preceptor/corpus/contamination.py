"""Benchmarks out of the text: 13 words in a row that both have, and what stands around them.

GPT-3 (arXiv:2005.14165) appendix C: words in lower case without punctuation. The run and 200
characters on each side are cut out, the document falls into pieces, pieces under 200 characters go,
and so does a document that is cut into more than 10. A run that comes in more than 10 documents is
a common phrase, and stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from preceptor.corpus.recipe import DecontaminateConfig
from preceptor.corpus.texts import read_json, whole_file, write_json
from preceptor.corpus.words import Numbers, hashed, placed_words, runs, words_of
from preceptor.data.rows import read_rows
from preceptor.errors import DataError


@dataclass(frozen=True)
class Benchmarks:
    """Every run of words of the benchmark files, each once, and which of the files have it."""

    runs: Numbers  # sorted
    of_file: npt.NDArray[np.bool_]  # [files, runs]
    facts: list[dict[str, Any]]  # for each file: its items, and those that are too short

    @classmethod
    def read(cls, config: DecontaminateConfig) -> "Benchmarks":
        """The runs of the files that the recipe names.

        The texts of a row, wherever they lie in it, are one after another: a run may begin in the
        question and end in the answer.

        Raises:
            DataError: a broken row, or a file with no run so long; a test that is not seen is worse
                than no build.
        """
        found, facts = [], []
        for path in config.files:
            own = [_runs_of(row, where, config.run) for where, row in read_rows(path)]
            if not own:
                raise DataError(f"{path}: there is nothing in it to decontaminate against.")
            together = np.unique(np.concatenate(own))
            if len(together) == 0:
                raise DataError(
                    f"{path}: no {config.run} words in a row in any of its rows. Lower "
                    "decontaminate.run, or leave the file out."
                )
            found.append(together)
            short = sum(len(one) == 0 for one in own)
            facts.append({"file": path, "items": len(own), "too_short": short})
        every = np.unique(np.concatenate(found))
        return cls(every, np.stack([is_in(every, own) for own in found]), facts)

    def save(self, folder: Path) -> None:
        """Write it, for all tasks to read."""
        write_json(folder / "benchmarks.json", self.facts)
        for name in ("runs", "of_file"):
            with whole_file(folder / f"benchmarks.{name}.npy") as file:
                np.save(file, getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "Benchmarks":
        """What `save` wrote there."""
        runs, of_file = (
            np.load(folder / f"benchmarks.{name}.npy", allow_pickle=False)
            for name in ("runs", "of_file")
        )
        return cls(runs, of_file, read_json(folder / "benchmarks.json"))

    def without(self, common: Numbers) -> "Benchmarks":
        """Without the runs that are no benchmark's own; how many of each file they are is told."""
        gone = is_in(self.runs, common)
        facts = [
            fact | {"common_runs": int((own & gone).sum())}
            for fact, own in zip(self.facts, self.of_file, strict=True)
        ]
        return Benchmarks(self.runs[~gone], self.of_file[:, ~gone], facts)

    def files_with(self, hits: Numbers) -> list[int]:
        """The numbers of the files that have one of these runs."""
        mine = self.of_file[:, np.searchsorted(self.runs, hits)]
        return np.flatnonzero(mine.any(axis=1)).tolist()


def _runs_of(row: object, where: str, run: int) -> Numbers:
    if isinstance(row, DataError):
        raise row
    return runs(hashed(words_of("\n".join(texts_in(row)))), run)


def texts_in(value: object) -> Iterator[str]:
    """All texts in a row, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)


def hits_in(text: str, index: Numbers, run: int) -> Numbers:
    """Which runs of the index a text has, each once."""
    found = runs(hashed(words_of(text)), run)
    return np.unique(found[is_in(found, index)])


def is_in(numbers: Numbers, index: Numbers) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of the numbers stand in the sorted index."""
    if len(index) == 0:
        return np.zeros(len(numbers), dtype=bool)
    at = np.searchsorted(index, numbers)
    at[at == len(index)] = 0
    same: np.ndarray[tuple[int], np.dtype[np.bool_]] = index[at] == numbers
    return same


@dataclass(frozen=True)
class Cut:
    """What is left of a document, and how many pieces it fell into before the short ones went."""

    pieces: list[str]
    num_pieces: int
    cut: str  # the first run that was found


def cut_out(text: str, index: Numbers, config: DecontaminateConfig) -> Cut | None:
    """The document without the runs of the index, or None if it has none."""
    words, places = placed_words(text)
    starts = np.flatnonzero(is_in(runs(hashed(words), config.run), index))
    if len(starts) == 0:
        return None
    pieces, at = [], 0
    for start in starts.tolist():
        begins = places[start][0] - config.window_chars
        ends = places[start + config.run - 1][1] + config.window_chars
        if begins > at:
            pieces.append(text[at:begins])
        at = max(at, ends)
    if at < len(text):
        pieces.append(text[at:])
    first = text[places[starts[0]][0] : places[starts[0] + config.run - 1][1]]
    long = [piece.strip() for piece in pieces]
    return Cut([p for p in long if len(p) >= config.min_piece_chars], len(pieces), first)
