"""Frozen weights in bf16: which of a model's, how they get there, and what is kept for saving.

Under autocast the matrices of the blocks compute the same numbers in bf16 as in fp32, and need not
be converted at every pass. The vocabulary's two ends do not: the embedding is added up and the
head multiplied in fp32. So they are halved only where policy and reference, or reward model and
value model, are one set of weights with adapters on and off, and what is rounded is so for both.
Norms and heads for a score stay fp32.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from preceptor.models.mapped import Mapping, mappings, read

Halved = Literal["nothing", "blocks", "all"]
"""Which weights are in bf16: none, the matrices of the blocks, or the vocabulary's ends as well."""


def is_head(model: PreTrainedModel, module: nn.Module) -> bool:
    """Whether a layer makes the model's output: words, or one score."""
    return module is model.get_output_embeddings() or _is_scalar_head(model, module)


def settle(model: PreTrainedModel, halved: Halved) -> None:
    """Read a model's weights out of the mapped file they lie in, some of them in bf16, others fp32.

    A weight that bf16 does not hold exactly is not read in fp32, but the view of it stays: it takes
    no memory until the model is saved (`whole_weights`).
    """
    files = mappings()
    for module, name, parameter in _own_parameters(model):
        if _goes(model, module, halved):
            _halve(module, name, parameter, files, keep=True)
        else:
            parameter.data, _ = read(parameter.data, torch.float32, files)


def halve_frozen(model: PreTrainedModel, halved: Halved) -> None:
    """Do to the frozen weights of a model in memory what `settle` does to one from a file.

    Of a model with adapters, which is saved some day, the fp32 weights stay beside their halves. A
    weight on bf16's grid plus a change smaller than its steps would be rounded back by the next
    stage, and what was learned with it.
    """
    adapted = any("lora_" in name for name, _ in model.named_parameters())
    for module, name, parameter in _own_parameters(model):
        frozen = not parameter.requires_grad and parameter.dtype != torch.bfloat16
        if frozen and _goes(model, module, halved):
            _halve(module, name, parameter, [], keep=adapted)


def whole_weights(model: nn.Module) -> dict[int, Tensor]:
    """Copies in fp32 of the halved weights of a model that were more than bf16 holds, by id."""
    files = mappings()
    return {
        id(parameter): read(module.__dict__[f"{name}_whole"], torch.float32, files)[0]
        for module, name, parameter in _own_parameters(model)
        if f"{name}_whole" in module.__dict__
    }


def _halve(
    module: nn.Module, name: str, parameter: nn.Parameter, files: list[Mapping], *, keep: bool
) -> None:
    whole = parameter.data
    parameter.data, exact = read(whole, torch.bfloat16, files)
    if keep and not exact:
        module.__dict__[f"{name}_whole"] = whole  # no buffer: it is no part of what is trained


def _own_parameters(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Every weight once, with the module whose own it is and its name there."""
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield module, name, parameter


def _goes(model: PreTrainedModel, module: nn.Module, halved: Halved) -> bool:
    """Whether the weights of a module are among those that are halved."""
    if halved == "nothing" or _is_scalar_head(model, module):
        return False
    if isinstance(module, (nn.Linear, Conv1D)):
        return halved == "all" or module is not model.get_output_embeddings()
    return halved == "all" and type(module) is nn.Embedding  # one that scales would do so in bf16


def _is_scalar_head(model: PreTrainedModel, module: nn.Module) -> bool:
    named = (getattr(model, name, None) for name in ("score", "classifier"))
    return any(module is head for head in named)
