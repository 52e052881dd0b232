"""Sequences of different lengths in one row, without padding between them.

A pass over a padded batch multiplies its padding with every weight. Here the tokens of all
sequences stand in one row, and only attention, which must keep them apart, sees them as a batch.
The row ends with padding up to a multiple of GRAIN positions, for a CPU's matrix products are
compiled for each new shape (docs/log.md).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

GRAIN = 64
"""A packed row has a multiple of so many positions: a padding one, where some sequence is short."""
WIDTH_STEP = 16
"""Attention sees the sequences in a batch whose width is a multiple of so many positions."""


@dataclass(frozen=True)
class Batches:
    """Attention's batches of the rows of one tensor [N, D].

    shapes     rows and length (B, L) of each batch
    index      for each the row [B L] of each of its places, `count` or more where there is none;
               None: the rows in their order
    count      rows that are tokens; those behind them are padding
    size       N
    """

    shapes: tuple[tuple[int, int], ...]
    index: tuple[Tensor | None, ...]
    count: int
    size: int


@dataclass(frozen=True)
class Packing:
    """Where sequences stand in a row of M positions, of which `count` are theirs.

    Attention sees S places: a batch of `shape` [B, L] for sequences that know nothing of each
    other; for prompts with K responses each, a batch of prompts and then one of responses, `shape`
    [P, Lp, K, Lr], which see their prompt as well.

    index      [S]  place in the row; behind a sequence's end that of the row's first padding
    places     [M]  which of the S each position of the row is; of the row's padding: 0
    padded          those of the S that stand behind a sequence's end
    starts          where each sequence begins in the row
    positions  [M]  position within its sequence, or within prompt and response; of padding: 0
    """

    shape: tuple[int, ...]
    index: Tensor
    places: Tensor
    padded: Tensor
    starts: Tensor
    positions: Tensor
    count: int

    @cached_property
    def batches(self) -> Batches:
        """Attention's one batch, or that of the prompts and that of their responses."""
        shapes = [(self.shape[0], self.shape[1])]
        if len(self.shape) == 4:
            shapes.append((self.shape[0] * self.shape[2], self.shape[3]))
        index = self.index.split([rows * length for rows, length in shapes])
        return Batches(tuple(shapes), index, self.count, len(self.positions))


def pack(lengths: Sequence[int]) -> Packing:
    """The packing of sequences of these lengths."""
    index, starts, positions, count = _placed(lengths)
    return _packing_of(tuple(index.shape), index.flatten(), starts, positions, count)


def pack_groups(prompts: Sequence[int], responses: Sequence[Sequence[int]]) -> Packing:
    """The packing of prompts and their responses, by length: all prompts, then all responses.

    Raises:
        ValueError: a response without a token, which has no place to be scored at.
    """
    if any(length < 1 for own in responses for length in own):
        raise ValueError("a response has no token; it needs its end token at least.")
    most = max(len(own) for own in responses)
    first, starts, positions, count = _placed(prompts)
    lengths = [length for own in responses for length in (*own, *[0] * (most - len(own)))]
    second, later, own_positions, more = _placed(lengths)
    offsets = torch.tensor(prompts).repeat_interleave(most).repeat_interleave(torch.tensor(lengths))
    inside = second < more
    second = torch.where(inside, second + count, count + more)
    first = torch.where(first < count, first, count + more)
    shape = (len(prompts), first.shape[1], most, second.shape[1])
    return _packing_of(
        shape,
        torch.cat([first.flatten(), second.flatten()]),
        torch.cat([starts, (later + count)[torch.tensor(lengths) > 0]]),
        torch.cat([positions, own_positions + offsets]),
        count + more,
    )


def _placed(lengths: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, int]:
    """Place of each [B, L], starts [B] and positions [count] of sequences one after another."""
    sizes = torch.tensor(lengths)
    count = int(sizes.sum())
    within = torch.arange(-(-int(sizes.max()) // WIDTH_STEP) * WIDTH_STEP)
    starts = sizes.cumsum(0) - sizes
    inside = within < sizes[:, None]
    index = torch.where(inside, starts[:, None] + within, count)
    return index, starts, within.expand(inside.shape)[inside], count


def _packing_of(
    shape: tuple[int, ...], index: Tensor, starts: Tensor, positions: Tensor, count: int
) -> Packing:
    inside = index < count
    size = -(-(count + int(not bool(inside.all()))) // GRAIN) * GRAIN
    places, whole = torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.long)
    places[index[inside]] = inside.nonzero()[:, 0]
    whole[:count] = positions
    return Packing(shape, index, places, (~inside).nonzero()[:, 0], starts, whole, count)


_packing: ContextVar[Packing | None] = ContextVar("packing", default=None)
_wanted: ContextVar[tuple[object, Tensor] | None] = ContextVar("wanted", default=None)


@contextmanager
def packed(packing: Packing, last: object = None, places: Tensor | None = None) -> Iterator[None]:
    """Within it attention takes its one row for the sequences of this packing.

    A `last` layer of ours (layers.py) ends with these places of the row alone.
    """
    wanted = None if last is None or places is None else (last, places)
    tokens = _packing.set(packing), _wanted.set(wanted)
    try:
        yield
    finally:
        _packing.reset(tokens[0])
        _wanted.reset(tokens[1])


def current_packing() -> Packing | None:
    """That of the pass in which this is asked, if it is a packed one."""
    return _packing.get()


def wanted_places(layer: object) -> Tensor | None:
    """The places [N] of the packed row with which this layer is to end, if not with all."""
    wanted = _wanted.get()
    return wanted[1] if wanted is not None and wanted[0] is layer else None


def as_batch(row: Tensor, packing: Packing) -> Tensor:
    """[M, D] as attention sees it, [S, D]; what is behind a sequence's end means nothing."""
    apply: Any = _AsBatch.apply
    return cast(Tensor, apply(row, packing))


def as_row(batch: Tensor, packing: Packing) -> Tensor:
    """[S, D] as [M, D]; the row's padding is zero."""
    apply: Any = _AsRow.apply
    return cast(Tensor, apply(batch, packing))


def rows_at(row: Tensor, places: Tensor) -> Tensor:
    """Rows [N, D] of [M, D] at places of which no two are the same."""
    apply: Any = _RowsAt.apply
    return cast(Tensor, apply(row, places))


# Each is a copy, forwards and backwards. Autograd's own indexing would add row by row instead, for
# it cannot know that no place is taken twice.


class _AsBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor, packing: Packing) -> Tensor:
        ctx.packing = packing
        return row.index_select(0, packing.index)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        found = grads[0].index_select(0, ctx.packing.places)
        found[ctx.packing.count :] = 0.0
        return found, None


class _AsRow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, batch: Tensor, packing: Packing) -> Tensor:
        ctx.packing = packing
        found = batch.index_select(0, packing.places)
        found[packing.count :] = 0.0
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        packing: Packing = ctx.packing
        return grads[0].index_select(0, packing.index).index_fill_(0, packing.padded, 0.0), None


class _RowsAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor, places: Tensor) -> Tensor:
        ctx.size = row.shape[0]
        ctx.save_for_backward(places)
        return row.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (places,) = ctx.saved_tensors
        found = grads[0].new_zeros(ctx.size, grads[0].shape[1])
        return found.index_copy_(0, places, grads[0]), None
