"""What every task of a build knows: the recipe, its pieces, and where in `work/` things wait."""

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preceptor.corpus.pieces import PassedOver, Piece
from preceptor.corpus.recipe import CorpusRecipe
from preceptor.corpus.texts import read_json, write_json
from preceptor.randomness import derived_seed

TEXT_PASSES = ("read", "score", "unique", "tokens")
"""The passes that take documents and leave documents or their tokens, in order."""

READ_NO_MORE = {
    "score": ("read",),
    "bands": ("bands",),
    "unique": ("read", "score"),
    "tokens": ("read", "score", "unique"),
    "card": ("tokens", "lists", "sample", "signatures", "candidates", "removed", "hits"),
}
"""When a pass is done, which folders nobody reads again; not the card's, for it may be repeated."""


@dataclass(frozen=True)
class Plan:
    """What every task knows: the recipe, the pieces, where things are, what nobody reads.

    A plan is sent with each task, so it goes without its pieces: a process reads them once.
    """

    recipe: CorpusRecipe
    pieces: tuple[Piece, ...]
    out: Path
    passed_over: tuple[PassedOver, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.recipe, self.out, self.passed_over)

    @property
    def work(self) -> Path:
        return self.out / "work"

    def write_pieces(self) -> None:
        """For the processes of tasks, before any of them begins."""
        numbers = {source.name: number for number, source in enumerate(self.recipe.sources)}
        rows = [[numbers[piece.source.name], *piece.paths] for piece in self.pieces]
        write_json(_pieces_path(self.out), rows)

    def texts(self, name: str, piece: int) -> Path:
        """Where the documents of a piece wait after a pass."""
        return self.work / name / f"{piece:05d}.jsonl.zst"

    def tally(self, name: str, piece: int) -> Path:
        return self.work / "tally" / name / f"{piece:05d}.json"

    def stream(self, purpose: str) -> int:
        """The number of a random stream."""
        return derived_seed(self.recipe.seed, f"corpus/{purpose}")

    def has(self, name: str) -> bool:
        """Whether documents wait on the disk after this pass."""
        needed = {
            "read": self.recipe.classifier,
            "score": self.recipe.duplicates,
            "unique": self.recipe.decontaminate,
        }
        return needed[name] is not None

    @property
    def region(self) -> str | None:
        """Whose phone numbers are masked; None where personal data are not."""
        return None if self.recipe.personal is None else self.recipe.personal.region

    def numbers(self, is_mine: Callable[[Piece], bool]) -> list[int]:
        return [number for number, piece in enumerate(self.pieces) if is_mine(piece)]


def _pieces_path(out: Path) -> Path:
    return out / "work" / "pieces.json"


_KNOWN: dict[tuple[str, int], tuple[Piece, ...]] = {}
"""The pieces that this process has read last, by their file and when it was written."""


def _opened(recipe: CorpusRecipe, out: Path, passed_over: tuple[PassedOver, ...]) -> Plan:
    path = _pieces_path(out)
    key = str(path.absolute()), path.stat().st_mtime_ns
    if key not in _KNOWN:
        _KNOWN.clear()
        _KNOWN[key] = tuple(
            Piece(recipe.sources[number], tuple(paths)) for number, *paths in read_json(path)
        )
    return Plan(recipe, _KNOWN[key], out, passed_over)


def clear(plan: Plan, done: Collection[str], _: Any, __: int, ___: int) -> None:
    """Remove what done passes have left and nobody reads: the disk holds two copies, not five."""
    for name in done:
        for folder in READ_NO_MORE.get(name, ()):
            shutil.rmtree(plan.work / folder, ignore_errors=True)


def classifier_path(plan: Plan) -> Path:
    return plan.work / "classifier.npy"


def toxicity_path(plan: Plan) -> Path:
    return plan.work / "toxicity" / "classifier.npy"


def sample_path(plan: Plan, piece: int) -> Path:
    return plan.work / "sample" / f"{piece:05d}.npz"


def read_facts(plan: Plan, name: str) -> dict[str, Any]:
    """What is known of `classifier` or `toxicity`; nothing where the recipe has none."""
    path = plan.work / f"{name}.json"
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    return found
