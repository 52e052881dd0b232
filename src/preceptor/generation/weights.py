"""Weights in the order in which a processor multiplies them, for as long as a batch is sampled.

A CPU's matrix product first puts a bf16 weight in an order of its own. For a batch of training that
is little beside the product; for one token of some responses it is half of the time (docs/log.md).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from preceptor.models.load import trunk

_ops: Any = torch.ops.mkldnn
AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and hasattr(_ops, "_reorder_linear_weight")
    and hasattr(_ops, "_linear_pointwise")
    and cast(bool, torch.ops.mkldnn._is_mkldnn_bf16_supported())
)
"""oneDNN's products with weights put in order before, as PyTorch's own compiler uses them."""


Product = Callable[[Tensor], Tensor]
"""[..., D] -> [..., N]"""


@contextmanager
def ordered_weights(model: PreTrainedModel) -> Iterator[Product | None]:
    """Within it the linear layers of the trunk multiply with ordered bf16 copies of their weights.

    Yields the head's own product, in fp32 as ever. Only under bf16 autocast on a CPU; elsewhere
    nothing is changed, and None is given. What is computed is what is computed without it, up to
    the order of sums.
    """
    head = model.get_output_embeddings()
    if not (AVAILABLE and torch.is_autocast_enabled("cpu") and head.weight.device.type == "cpu"):
        yield None
        return
    layers = [module for module in trunk(model).modules() if type(module) is nn.Linear]
    before = [layer.__dict__.get("forward") for layer in layers]  # somebody's own, if any
    try:
        for layer in layers:
            layer.forward = _ordered(layer.weight, layer.bias, torch.bfloat16)  # type: ignore[assignment,method-assign]
        yield _ordered(head.weight, head.bias, torch.float32)
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.__dict__.pop("forward", None)
            if own is not None:
                layer.forward = own  # type: ignore[method-assign]


def _ordered(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Product:
    ordered = _ops._reorder_linear_weight(weight.detach().to(dtype), None)
    own = None if bias is None else bias.detach().to(dtype)

    def product(x: Tensor) -> Tensor:
        return cast(Tensor, _ops._linear_pointwise(x.to(dtype), ordered, own, "none", [], ""))

    return product
