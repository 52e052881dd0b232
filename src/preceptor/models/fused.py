"""The operations of kernels.cpp on tensors, with their gradients.

B rows of a batch, L positions, H heads, G of them with keys and values, d a head's width, N rows, D
the model's width, F the inner one. T stands for the precision of products, bf16 under autocast and
fp32 otherwise. Everything is on the CPU.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from preceptor.models.kernels import BLOCK, NUMBERS, available, call
from preceptor.models.packing import Batches

WIDTHS = (16, 32, 64, 96, 128)
"""Of heads that `single_query` knows."""


def product_dtype() -> torch.dtype:
    """The precision in which a linear layer multiplies here."""
    enabled = torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if enabled else torch.float32


def rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019), [.., D] of fp32 to `dtype`."""
    found: Tensor = _applied(_AddNorm, x, None, weight, eps, dtype)[1]
    return found


def add_rms_norm(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + y in fp32 and its norm in y's precision; x [.., D] is fp32, y [.., D] is T."""
    found: tuple[Tensor, Tensor] = _applied(_AddNorm, x, y, weight, eps, y.dtype)
    return found


def add(x: Tensor, y: Tensor) -> Tensor:
    """x + y in fp32; x [.., D] is fp32, y [.., D] is T."""
    found: Tensor = _applied(_Add, x, y)
    return found


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up (Shazeer 2020), [.., F] of T; of a wider product's parts, too."""
    found: Tensor = _applied(_SwiGLU, gate, up)
    return found


def to_heads(
    rows: Tensor,
    batches: Batches,
    heads: int,
    rotation: tuple[Tensor, Tensor] | None,
    scale: float = 1.0,
) -> tuple[Tensor, ...]:
    """Rows [.., H d] of T as attention's batches, each [B, H, L, d].

    Rotated by cosines and sines [1 or B, L, d] of their positions (Su et al. 2021; the halves of a
    head are a pair, as transformers has it), and scaled. What is behind a sequence's end is zero.
    """
    found: tuple[Tensor, ...] = _applied(_ToHeads, rows, batches, heads, rotation, scale)
    return found


def from_heads(parts: tuple[Tensor, ...], batches: Batches) -> Tensor:
    """Batches [B, H, L, d] as rows [N, H d]; the rows of no place are zero."""
    found: Tensor = _applied(_FromHeads, batches, *parts)
    return found


def masked_softmax(scores: Tensor, mask: Tensor | None, length: int) -> Tensor:
    """Attention's weights, written over its scores [B, G, H / G L, S], which nobody needs then.

    `mask` [B or 1, 1, L or 1, S] is True where attended; None is causal, the last query sees all. A
    row that may see nothing weighs nothing.
    """
    found: Tensor = _applied(_Softmax, scores.contiguous(), mask, length)
    return found


def single_query(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention [B, H, 1, d] of one query a row that sees all keys, or those of mask [B, 1, 1, S].

    key, value: [B, G, S, d], d one of WIDTHS. It has no gradient.

    Raises:
        ValueError: a head of another width.
    """
    batch, heads, _, width = query.shape
    groups, keys = key.shape[1:3]
    if width not in WIDTHS:
        raise ValueError(f"a head's width is {width}; it must be one of {WIDTHS}")
    query, key, value = (x.contiguous() for x in (query, key, value))
    mask = None if mask is None else mask.expand(batch, -1, -1, keys).contiguous()
    out = torch.empty_like(query)
    sizes = (batch, groups, heads // groups, keys, width)
    call("single_query", query.dtype, query, key, value, mask, out, *sizes)
    return out


def word_numbers(
    logits: Tensor, tokens: Tensor, slopes: Tensor | None, *, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Of logits [N, V] in fp32 the tokens' log-probabilities [N], and the distributions' entropies
    [N] if they are asked for, both in nats.

    The derivative of the log-probabilities by the logits is written to `slopes` [N, V], which may
    be the logits themselves.

    Raises:
        IndexError: a token is none of the vocabulary's.
    """
    tokens = tokens.long().contiguous()
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < logits.shape[1]:
        raise IndexError(f"a token is none of the {logits.shape[1]} of the vocabulary")
    logprobs = logits.new_empty(len(logits))
    entropies = torch.empty_like(logprobs) if with_entropy else None
    dtype = logits.dtype if slopes is None else slopes.dtype
    call("word_numbers", dtype, logits, tokens, logprobs, entropies, slopes, *logits.shape)
    return logprobs, entropies


def takes(*tensors: Tensor) -> bool:
    """Whether kernels take such tensors, and are there."""
    first = tensors[0].dtype
    fit = all(x.dtype == first and x.device.type == "cpu" for x in tensors)
    return fit and first in NUMBERS and available()


def _applied(function: Any, *arguments: Any) -> Any:
    """A function's forward pass alone where nobody will ask for a gradient: apply takes 6 us."""
    learns = (isinstance(a, Tensor) and a.requires_grad for a in arguments)
    if torch.is_grad_enabled() and any(learns):
        return function.apply(*arguments)
    nothing_kept = SimpleNamespace(
        save_for_backward=_ignored, mark_dirty=_ignored, set_materialize_grads=_ignored
    )
    return function.forward(nothing_kept, *arguments)


def _ignored(*_: Any) -> None:
    pass


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype
    ) -> tuple[Tensor | None, Tensor]:
        x, weight, width = x.contiguous(), weight.float(), x.shape[-1]
        y = None if y is None else y.contiguous()
        total = None if y is None else torch.empty_like(x)
        normed, scale = torch.empty_like(x, dtype=dtype), x.new_empty(x.shape[:-1])
        call("add_norm", dtype, x, y, weight, total, normed, scale, scale.numel(), width, eps)
        ctx.save_for_backward(x if total is None else total, weight, scale)
        ctx.added, ctx.dtype = y is not None, dtype
        ctx.set_materialize_grads(False)
        return total, normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        total, weight, scale = ctx.saved_tensors
        more, grad = grads
        more = None if more is None else more.contiguous()
        rows, width = scale.numel(), total.shape[-1]
        grad = torch.zeros_like(total, dtype=ctx.dtype) if grad is None else grad.contiguous()
        of_x = torch.empty_like(total)
        of_y = torch.empty_like(grad) if ctx.added else None
        learns = ctx.needs_input_grad[2]
        parts = total.new_empty(-(-rows // BLOCK), width) if learns else None
        call(
            *("add_norm_back", ctx.dtype, grad, more, total, weight, scale),
            *(of_x, of_y, parts, rows, width),
        )
        return of_x, of_y, None if parts is None else parts.sum(0), None, None


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        x, y = x.contiguous(), y.contiguous()
        total = torch.empty_like(x)
        call("add", y.dtype, x, y, total, x.numel())
        ctx.dtype = y.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], grads[0].to(ctx.dtype)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        width, dtype = gate.shape[-1], gate.dtype
        out = torch.empty(gate.shape, dtype=dtype)
        (gate, gate_stride), (up, up_stride) = _rows(gate), _rows(up)
        call("swiglu", dtype, gate, up, out, out.numel() // width, width, gate_stride, up_stride)
        ctx.save_for_backward(gate, up)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        gate, up = (x.contiguous() for x in ctx.saved_tensors)
        of_gate, of_up = torch.empty_like(gate), torch.empty_like(up)
        grad = grads[0].contiguous()
        call("swiglu_back", gate.dtype, grad, gate, up, of_gate, of_up, gate.numel())
        return of_gate, of_up


class _ToHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        batches: Batches,
        heads: int,
        rotation: tuple[Tensor, Tensor] | None,
        scale: float,
    ) -> tuple[Tensor, ...]:
        ctx.shape, ctx.batches, ctx.rotation, ctx.scale = rows.shape, batches, rotation, scale
        width = rows.shape[-1] // heads
        rows, stride = _rows(rows)
        return tuple(
            _heads_of(rows, part, batches, heads, width, rotation, scale, stride)
            for part in range(len(batches.shapes))
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        rows = _rows_of(grads, ctx.batches, ctx.rotation, ctx.scale)
        return rows.view(ctx.shape), None, None, None, None


class _FromHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, batches: Batches, *parts: Tensor) -> Tensor:
        ctx.batches, (_, ctx.heads, _, ctx.width) = batches, parts[0].shape
        return _rows_of(parts, batches, None, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        rows, stride = _rows(grads[0])
        shape = (ctx.batches, ctx.heads, ctx.width)
        return None, *(
            _heads_of(rows, part, *shape, None, 1.0, stride)
            for part in range(len(ctx.batches.shapes))
        )


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor | None, length: int) -> Tensor:
        batch, keys = len(scores), scores.shape[-1]
        heads = scores.numel() // (batch * length * keys)
        mask = None if mask is None else mask.expand(-1, -1, length, keys).contiguous()
        stride = 0 if mask is None or len(mask) == 1 else length * keys
        call("softmax", scores.dtype, scores, mask, batch, heads, length, keys, stride)
        ctx.mark_dirty(scores)
        ctx.save_for_backward(scores)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        (weights,) = ctx.saved_tensors
        grad = grads[0].contiguous()
        of_scores, keys = torch.empty_like(grad), grad.shape[-1]
        call("softmax_back", grad.dtype, weights, grad, of_scores, grad.numel() // keys, keys)
        return of_scores, None, None


def _heads_of(
    rows: Tensor,
    part: int,
    batches: Batches,
    heads: int,
    width: int,
    rotation: tuple[Tensor, Tensor] | None,
    scale: float,
    stride: int,
) -> Tensor:
    batch, length = batches.shapes[part]
    out = rows.new_empty(batch, heads, length, width)
    cosines, sines, period = _rotation(rotation)
    sizes = (batch, length, heads, width, stride, batches.count, period, scale)
    call("to_heads", rows.dtype, rows, cosines, sines, batches.index[part], out, *sizes)
    return out


def _rows_of(
    parts: tuple[Tensor, ...],
    batches: Batches,
    rotation: tuple[Tensor, Tensor] | None,
    scale: float,
) -> Tensor:
    _, heads, _, width = parts[0].shape
    out = parts[0].new_empty(batches.size, heads * width)
    out[batches.count :] = 0.0
    cosines, sines, period = _rotation(rotation)
    for batch, (rows, length), index in zip(parts, batches.shapes, batches.index, strict=True):
        sizes = (rows, length, heads, width, batches.count, period, scale)
        call("from_heads", out.dtype, batch.contiguous(), cosines, sines, index, out, *sizes)
    return out


def _rotation(rotation: tuple[Tensor, Tensor] | None) -> tuple[Tensor | None, Tensor | None, int]:
    if rotation is None:
        return None, None, 1
    cosines, sines = rotation
    return cosines, sines, cosines.numel() // cosines.shape[-1]


def _rows(x: Tensor) -> tuple[Tensor, int]:
    """[.., D] whose rows are one distance apart in memory, and that distance."""
    even = x.stride(-1) == 1 and all(
        x.stride(axis) == x.shape[axis + 1] * x.stride(axis + 1) for axis in range(x.dim() - 2)
    )
    x = x if even else x.contiguous()
    return x, x.stride(-2)
