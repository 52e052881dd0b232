"""The passes from the tokens of pieces to the stream: the mixture, then the shards."""

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from preceptor.corpus.mixture import (
    ONCE,
    Index,
    Piece,
    Share,
    num_shards,
    shares,
    write_shards,
)
from preceptor.corpus.plan import TEXT_PASSES, Plan
from preceptor.corpus.tally import merged
from preceptor.corpus.texts import read_json, write_json
from preceptor.corpus.words import Numbers
from preceptor.data.shards import PARTS
from preceptor.errors import DataError


def read_index(plan: Plan, piece: int) -> Index:
    """The documents of a piece, mapped."""
    path = plan.work / "tokens" / f"{piece:05d}.index.npy"
    found: Index = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def mix(plan: Plan, _: Any, __: int, ___: int) -> None:
    """How often each source is seen, which documents are held out, and into how many shards.

    Raises:
        DataError: a source has no document left and `on_error` is "refuse", or nothing is left.
    """
    recipe, notes = plan.recipe, []
    facts = {n: read_json(plan.work / "tokens" / f"{n:05d}.json") for n in range(len(plan.pieces))}
    if len({f["sha256"] for f in facts.values()}) > 1:
        raise DataError(
            f"{plan.work}: pieces were tokenized by different tokenizers; {recipe.tokenizer} was "
            "changed in between. Remove the folder and build again."
        )
    held_out = _held_out_below(plan)
    found: dict[str, tuple[Numbers, npt.NDArray[np.int64]]] = {}
    valid_tokens = 0
    for source in recipe.sources:
        orders, lengths = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for number in plan.numbers(lambda piece, name=source.name: piece.source.name == name):  # type: ignore[misc]
            index = read_index(plan, number)
            is_valid = index["split"] < held_out
            orders.append(index["order"][~is_valid])
            lengths.append(index["length"][~is_valid].astype(np.int64))
            valid_tokens += int(index["length"][is_valid].sum())
        if sum(map(len, orders)):
            found[source.name] = np.concatenate(orders), np.concatenate(lengths)
            continue
        told = f"Source {source.name}: no document is left to train on."
        if recipe.on_error == "refuse":
            raise DataError(
                f"{told} {_what_took(plan, [source.name])} Mend the source or the step, take the "
                "source out, or set on_error: skip."
            )
        notes.append(told)
    if not found:
        names = [source.name for source in recipe.sources]
        raise DataError(f"no document is left of any source. {_what_took(plan, names)}")
    by_source, more = shares(recipe, found)
    train_tokens = sum(_tokens_of(*found[name], share) for name, share in by_source.items())
    write_json(plan.work / "mixture.json", {
        "held_out_below": int(held_out),
        "notes": [*notes, *more],
        "shares": {name: vars(share) for name, share in by_source.items()},
        "shards": {
            "train": num_shards(train_tokens, recipe.shard_tokens),
            "valid": num_shards(valid_tokens, recipe.shard_tokens),
        },
        "unique": {
            name: {"documents": len(order), "tokens": int(lengths.sum())}
            for name, (order, lengths) in found.items()
        },
        "tokenizer": facts[0],
    })  # fmt: skip


def _held_out_below(plan: Plan) -> np.uint64:
    """Documents with a draw below this are held out: the recipe's share, and one at least.

    Raises:
        DataError: all documents are one and the same.
    """
    below = int(plan.recipe.valid_fraction * 2**64)
    smallest: Numbers = np.empty(0, dtype=np.uint64)
    for number in range(len(plan.pieces)):
        index = read_index(plan, number)
        smallest = np.unique(np.concatenate([smallest, index["split"]]))[:2]
    if len(smallest) < 2:
        raise DataError(
            f"{len(smallest)} different documents are left, and at least 2 are needed: one is "
            f"held out. {_what_took(plan, [source.name for source in plan.recipe.sources])}"
        )
    # The second one trains whatever the share says.
    return np.uint64(max(int(smallest[0]) + 1, below))


def _what_took(plan: Plan, sources: Collection[str]) -> str:
    """Which steps took the documents of these sources, the one that took the most first."""
    mine = plan.numbers(lambda piece: piece.source.name in sources)
    paths = [plan.tally(one, number) for one in TEXT_PASSES for number in mine]
    steps = merged([path for path in paths if path.is_file()])["steps"]
    took = {
        step: sum(count for count, _ in counts["dropped"].values())
        for step, counts in steps.items()
    }
    told = [
        f"{step} {num:,}" for step, num in sorted(took.items(), key=lambda item: -item[1]) if num
    ]
    return f"Documents dropped, by step: {', '.join(told)}." if told else "Nothing came in."


def _tokens_of(order: Numbers, lengths: npt.NDArray[np.int64], share: Share) -> int:
    return sum(int(lengths[chosen].sum()) for chosen, _ in share.copies(order))


def write_my_shards(plan: Plan, _: Any, task: int, num_tasks: int) -> None:
    """Every so many-th shard of both parts."""
    mixture = read_json(plan.work / "mixture.json")
    facts = mixture["tokenizer"]
    names = [source.name for source in plan.recipe.sources]
    pieces = []
    for number, piece in enumerate(plan.pieces):
        index = read_index(plan, number)
        path = plan.work / "tokens" / f"{number:05d}.bin"
        if len(index):
            tokens = np.memmap(path, dtype=facts["dtype"], mode="r")
            is_valid = index["split"] < np.uint64(mixture["held_out_below"])
            pieces.append(Piece(number, names.index(piece.source.name), index, tokens, is_valid))
    trained = {name: Share(**values) for name, values in mixture["shares"].items()}
    named = [(part, n) for part in PARTS for n in range(mixture["shards"][part])]
    written = write_shards(
        plan.out,
        pieces,
        {
            "train": [trained.get(name, ONCE) for name in names],
            "valid": [ONCE for _ in names],
        },
        mixture["shards"],
        named[task::num_tasks],
    )
    write_json(plan.work / "shards" / f"{task:05d}.json", written)
