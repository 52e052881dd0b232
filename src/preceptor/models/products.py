"""oneDNN's matrix products, by operators that PyTorch's compiler uses and does not document.

In fp32 on a CPU `nn.functional.linear` goes to MKL, which takes up to twice oneDNN's time on
processors of other makers (docs/log.md).
"""

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


def ordered(weight: Tensor) -> Tensor:
    """A copy [N, D] in the order in which the processor multiplies, for `product` alone."""
    return cast(Tensor, _ops._reorder_linear_weight(weight, None))


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x weight^T + bias, [.., D] to [.., N], all of one precision, with PyTorch's own gradient."""
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if learns or not AVAILABLE or x.device.type != "cpu":
        return nn.functional.linear(x, weight, bias)
    return cast(Tensor, _ops._linear_pointwise(x, weight, bias, "none", [], ""))
