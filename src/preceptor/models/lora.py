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
from preceptor.models.halves import is_head, whole_weights


def add_adapters(model: PreTrainedModel, config: LoRAConfig, seed: int) -> None:
    """Freeze the model and give every linear layer of its blocks a trainable adapter.

    The second factor starts at zero, so the model computes what it did before, exactly.
    """
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and not is_head(model, module)
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
    for parameter in model.parameters():
        if parameter.requires_grad:  # peft has given them the precision of frozen weights
            parameter.data = parameter.data.float()


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
    whole = whole_weights(model)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if first[id(parameter)] in state:
            full[name] = state[first[id(parameter)]]
        elif id(parameter) in whole:
            full[name] = whole[id(parameter)]
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    for name, layer in layers.items():
        weight = full.pop(f"{name}.base_layer.weight").float()
        bias = full.pop(f"{name}.base_layer.bias", None)
        down = full.pop(f"{name}.lora_A.default.weight")
        up = full.pop(f"{name}.lora_B.default.weight")
        change = layer.scaling["default"] * (up @ down)
        # GPT-2's Conv1D keeps its weight the other way round.
        full[f"{name}.weight"] = weight + (
            change.T if getattr(layer, "fan_in_fan_out", False) else change
        )
        if bias is not None:
            full[f"{name}.bias"] = bias
    return {name: value.float().contiguous() for name, value in full.items()}
