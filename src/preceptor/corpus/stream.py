"""The passes from the tokens of pieces to the stream: the mixture, then the shards."""

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from preceptor.corpus.mixture import (
    COPY,
    ONCE,
    Index,
    ShardLists,
    Share,
    num_shards,
    read_list,
    shares,
    write_shard,
)
from preceptor.corpus.plan import TEXT_PASSES, Plan
from preceptor.corpus.tally import merged
from preceptor.corpus.texts import read_json, whole_folder, write_json
from preceptor.corpus.words import Numbers
from preceptor.data.shards import PARTS
from preceptor.errors import DataError


def read_index(plan: Plan, piece: int) -> Index:
    """The documents of a piece."""
    path = plan.work / "tokens" / f"{piece:05d}.index.npy"
    found: Index = np.load(path, allow_pickle=False)
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
    mixture = {
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
    }
    del found  # the lists need room
    _list_shards(plan, mixture, by_source)
    write_json(plan.work / "mixture.json", mixture)


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
    """What took the documents of these sources, the reason that took the most first."""
    mine = plan.numbers(lambda piece: piece.source.name in sources)
    paths = [plan.tally(one, number) for one in TEXT_PASSES for number in mine]
    steps = merged([path for path in paths if path.is_file()])["steps"]
    took = {
        f"{step}, {reason}": count
        for step, counts in steps.items()
        for reason, (count, _) in counts["dropped"].items()
    }
    most = sorted(took.items(), key=lambda item: -item[1])
    told = [f"{num:,} by {name.rstrip('.')}" for name, num in most[:5] if num]
    if rest := sum(num for _, num in most[5:]):
        told.append(f"{rest:,} by others")
    return f"Documents dropped: {'; '.join(told)}." if told else "Nothing came in."


def _tokens_of(order: Numbers, lengths: npt.NDArray[np.int64], share: Share) -> int:
    return sum(int(lengths[chosen].sum()) for chosen, _ in share.copies(order))


def _list_shards(plan: Plan, mixture: dict[str, Any], by_source: dict[str, Share]) -> None:
    """What every shard holds, in a file for each, all or none."""
    names = [source.name for source in plan.recipe.sources]
    below = np.uint64(mixture["held_out_below"])
    with whole_folder(plan.work / "lists") as folder:
        lists = ShardLists(folder, mixture["shards"])
        for number, piece in enumerate(plan.pieces):
            index, name = read_index(plan, number), piece.source.name
            documents = np.zeros(len(index), dtype=COPY)
            documents["piece"], documents["source"] = number, names.index(name)
            documents["at"] = np.arange(len(index))
            for key in ("start", "length", "origin"):
                documents[key] = index[key]
            is_valid = index["split"] < below
            for part, mine, share in (
                ("train", ~is_valid, by_source.get(name, ONCE)),
                ("valid", is_valid, ONCE),
            ):
                lists.add(part, documents[mine], index["order"][mine], share)
        lists.flush()


def write_my_shards(plan: Plan, _: Any, task: int, num_tasks: int) -> None:
    """Every so many-th shard of both parts."""
    mixture = read_json(plan.work / "mixture.json")
    named = [(part, n) for part in PARTS for n in range(mixture["shards"][part])]
    written = [
        write_shard(
            plan.out,
            part,
            number,
            read_list(plan.work / "lists", part, number),
            lambda piece: plan.work / "tokens" / f"{piece:05d}.bin",
            mixture["tokenizer"]["dtype"],
            len(plan.recipe.sources),
        )
        for part, number in named[task::num_tasks]
    ]
    write_json(plan.work / "shards" / f"{task:05d}.json", written)
