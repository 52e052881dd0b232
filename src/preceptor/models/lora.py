"""Low-rank adapters by peft, injected in place: to its callers a model stays what it was."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from preceptor.config import LoRAConfig


def add_adapters(model: PreTrainedModel, config: LoRAConfig, seed: int) -> None:
    """Freeze the model and give every linear layer of its blocks a trainable adapter.

    The second factor starts at zero, so the model computes what it did before, exactly.
    """
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and not _is_head(model, module)
    ]
    model.requires_grad_(False)
    peft_config = PeftConfig(
        r=config.rank, lora_alpha=cast(int, config.alpha), target_modules=targets
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="fan_in_fan_out"
        )  # peft sets it for Conv1D itself
        torch.manual_seed(seed)  # peft draws from the global stream
        inject_adapter_in_model(peft_config, model)


@contextmanager
def adapters_off(model: PreTrainedModel) -> Iterator[None]:
    """Within it the model computes as before training: the reference without a second copy.

    Raises:
        ValueError: there are no adapters; the model would be its own reference for ever.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    if not layers:
        raise ValueError("a model without adapters has none to turn off; give a ref_policy.")
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merged_state(
    model: PreTrainedModel, state: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The weights as an ordinary model of this class has them, adapters added in.

    `state` holds other values for the trainable parameters (such as a moving average).
    """
    state = state or {}
    full = {name: value.detach() for name, value in model.state_dict().items()}
    # A head tied to the embedding is one parameter with two names, and `state` knows the first:
    # both get the same tensor, or the folder would hold a head of another step.
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if first[id(parameter)] in state:
            full[name] = state[first[id(parameter)]]
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    for name, layer in layers.items():
        base = layer.base_layer
        weight = full.pop(f"{name}.base_layer.weight").float() + getattr(base, "weight_rest", 0.0)
        bias = full.pop(f"{name}.base_layer.bias", None)
        down = full.pop(f"{name}.lora_A.default.weight")
        up = full.pop(f"{name}.lora_B.default.weight")
        change = layer.scaling["default"] * (up @ down)
        # GPT-2's Conv1D keeps its weight the other way round.
        full[f"{name}.weight"] = weight + (
            change.T if getattr(layer, "fan_in_fan_out", False) else change
        )
        if bias is not None:
            full[f"{name}.bias"] = bias.float() + getattr(base, "bias_rest", 0.0)
    return {name: value.float().contiguous() for name, value in full.items()}


def halve_frozen(model: PreTrainedModel, *, is_saved: bool = True) -> None:
    """Keep frozen matrices of the blocks in bf16, for stages that run in bf16.

    Under autocast this computes the same numbers as fp32 weights would, without converting them at
    every pass. Norms, embeddings and heads, those for words and for a score alike, stay fp32.

    Under an adapter the rest that bf16 cannot hold is kept for `merged_state`, unless the model is
    never saved. A weight on bf16's grid plus a change smaller than its steps would be rounded back
    by the next stage, and what was learned with it.
    """
    adapted = {m.base_layer for m in model.modules() if isinstance(m, LoraLayer)}
    for module in model.modules():
        if not isinstance(module, torch.nn.Linear) or _is_head(model, module):
            continue
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.requires_grad or parameter.dtype == torch.bfloat16:
                continue
            whole = parameter.data
            parameter.data = whole.to(torch.bfloat16)
            if module in adapted and is_saved:
                rest = (whole - parameter.data.float()).to(torch.bfloat16)
                if bool(rest.any()):  # weights that were published in bf16 have none
                    module.register_buffer(f"{name}_rest", rest, persistent=False)


def _is_head(model: PreTrainedModel, module: torch.nn.Module) -> bool:
    """Whether a layer makes the model's output: words, or one score."""
    named = (getattr(model, name, None) for name in ("score", "classifier"))
    return any(module is head for head in (model.get_output_embeddings(), *named))
