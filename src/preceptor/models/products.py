"""oneDNN's matrix products, by operators that PyTorch's compiler uses and does not document.

In fp32 on a CPU `nn.functional.linear` goes to MKL, which takes up to twice oneDNN's time on
processors of other makers (docs/log.md).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

_ops: Any = torch.ops.mkldnn
AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and hasattr(_ops, "_reorder_linear_weight")
    and hasattr(_ops, "_linear_pointwise")
)
BF16 = AVAILABLE and cast(bool, torch.ops.mkldnn._is_mkldnn_bf16_supported())
"""Whether bf16 is multiplied as well."""
_TURN = threading.Lock()


def ordered(weight: Tensor) -> Tensor:
    """A copy [N, D] in the order in which the processor multiplies, for `product` alone."""
    return cast(Tensor, _ops._reorder_linear_weight(weight, None))


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x weight^T + bias, [.., D] to [.., N], all of one precision, with PyTorch's own gradient."""
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if learns or not AVAILABLE or x.device.type != "cpu":
        return nn.functional.linear(x, weight, bias)
    return cast(Tensor, _ops._linear_pointwise(x, weight, bias, "none", [], ""))


@contextmanager
def rounded_inputs() -> Iterator[None]:
    """Within it oneDNN's fp32 products round what they multiply to bf16; sums and results are fp32.

    A processor that does not multiply bf16 rounds nothing. The setting is the whole process's, so
    threads take turns: one would put back what another had set.
    """
    setting: Any = torch.backends.mkldnn
    with _TURN:
        before = setting.matmul.fp32_precision
        setting.matmul.fp32_precision = "bf16"
        try:
            yield
        finally:
            setting.matmul.fp32_precision = before
