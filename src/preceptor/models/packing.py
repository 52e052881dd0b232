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
from typing import Any, cast

import torch
from torch import Tensor

GRAIN = 64
"""A packed row has a multiple of so many positions, at least one of them padding."""
WIDTH_STEP = 16
"""Attention sees the sequences in a batch whose width is a multiple of so many positions."""


@dataclass(frozen=True)
class Packing:
    """Where B sequences of at most L positions stand in a row of M, of which `count` are theirs.

    index   [B, L]  place in the row; behind a sequence's end that of the row's first padding
    places  [M]     place in the flattened batch [B * L]; of the row's padding: 0
    padded          places in the flattened batch behind the sequences' ends
    starts  [B]     where a sequence begins in the row
    positions [M]   position within its sequence; of padding: 0
    """

    index: Tensor
    places: Tensor
    padded: Tensor
    starts: Tensor
    positions: Tensor
    count: int


def pack(lengths: Sequence[int]) -> Packing:
    """The packing of sequences of these lengths."""
    sizes = torch.tensor(lengths)
    count, longest = int(sizes.sum()), int(sizes.max())
    width = -(-longest // WIDTH_STEP) * WIDTH_STEP
    starts = sizes.cumsum(0) - sizes
    within = torch.arange(width)
    inside = within < sizes[:, None]
    index = torch.where(inside, starts[:, None] + within, count)
    size = -(-(count + 1) // GRAIN) * GRAIN
    places, positions = torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.long)
    places[:count] = inside.flatten().nonzero()[:, 0]
    positions[:count] = within.expand(len(lengths), width)[inside]
    padded = (~inside).flatten().nonzero()[:, 0]
    return Packing(index, places, padded, starts, positions, count)


_packing: ContextVar[Packing | None] = ContextVar("packing", default=None)


@contextmanager
def packed(packing: Packing) -> Iterator[None]:
    """Within it attention takes its one row for the sequences of this packing."""
    token = _packing.set(packing)
    try:
        yield
    finally:
        _packing.reset(token)


def current_packing() -> Packing | None:
    """That of the pass in which this is asked, if it is a packed one."""
    return _packing.get()


def as_batch(row: Tensor, packing: Packing) -> Tensor:
    """[M, D] as [B, L, D]; what stands behind a sequence's end means nothing."""
    apply: Any = _AsBatch.apply
    return cast(Tensor, apply(row, packing))


def as_row(batch: Tensor, packing: Packing) -> Tensor:
    """[B, L, D] as [M, D]; the row's padding is zero."""
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
        return row.index_select(0, packing.index.flatten()).view(*packing.index.shape, -1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        found = grads[0].flatten(0, 1).index_select(0, ctx.packing.places)
        found[ctx.packing.count :] = 0.0
        return found, None


class _AsRow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, batch: Tensor, packing: Packing) -> Tensor:
        ctx.packing = packing
        found = batch.flatten(0, 1).index_select(0, packing.places)
        found[packing.count :] = 0.0
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        packing: Packing = ctx.packing
        found = grads[0].index_select(0, packing.index.flatten())
        found.index_fill_(0, packing.padded, 0.0)
        return found.view(*packing.index.shape, -1), None


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
