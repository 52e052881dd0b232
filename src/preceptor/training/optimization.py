"""One optimizer step, written once: accumulate, refuse what is not finite, clip, step."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from preceptor.config import TrainConfig
from preceptor.errors import TrainingError
from preceptor.training.folder import Checkpoint


def make_optimizer(
    model: nn.Module, config: TrainConfig, learning_rate: float | None = None
) -> torch.optim.AdamW:
    """AdamW over the trainable weights; decay on matrices only (GPT-3 appendix B: 0.1).

    Adam's averages are there from the start, below all that comes and goes: among it they would
    leave gaps, 0.1 GB at 135M weights (docs/log.md).
    """
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [(name, p) for name, p in trainable if p.dim() > 1]
    others = [(name, p) for name, p in trainable if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=learning_rate or config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_eps,
        fused=True,
    )
    for _, weight in trainable:
        averages = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[weight] = {"step": torch.zeros(())} | averages
    return optimizer


def scheduled_rate(config: TrainConfig, step: int, num_steps: int, peak: float) -> float:
    """Learning rate of `step` (from 0): linear warm-up, then the recipe's shape to final_fraction.

    Warm-up starts at a tenth of the peak, as InstructGPT's PPO does (appendix C.4).
    """
    warmup = round(config.warmup_fraction * num_steps)
    if step < warmup:
        return peak * (0.1 + 0.9 * step / warmup)
    if config.schedule == "constant":
        return peak
    progress = (step - warmup) / max(1, num_steps - warmup)
    floor = config.final_fraction
    shape = 1 - progress if config.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return peak * (floor + (1 - floor) * shape)


def accumulate(losses: Iterable[Tensor], where: str) -> float:
    """Backpropagate microbatch losses whose sum is the loss of the batch; returns that sum.

    Raises:
        TrainingError: a loss is not finite; no optimizer step has been taken.
    """
    total = 0.0
    for loss in losses:
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"{where}: the loss is {value}. Stopped before the optimizer step; the last "
                "checkpoint is good. Usual cause: learning rate too high, or bad data."
            )
        loss.backward()
        total += value
    return total


def take_step(
    optimizer: torch.optim.AdamW, *, learning_rate: float, max_grad_norm: float, where: str
) -> float:
    """Clip the global gradient norm, step, clear; returns the norm before clipping.

    The optimizer is one of `make_optimizer`: a fused one divides each gradient as it reads it, so
    clipping takes no walk of its own over them all.

    Raises:
        TrainingError: the norm is not finite; no weight has moved.
        ValueError: the optimizer is not fused, and could not clip.
    """
    if not optimizer.defaults.get("fused"):
        raise ValueError("the optimizer must be a fused one, as make_optimizer makes it, to clip")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    total = total_norm([p.grad for p in parameters if p.grad is not None])
    norm = float(total)
    if not math.isfinite(norm):
        raise TrainingError(
            f"{where}: the gradient norm is {norm}{_not_finite(optimizer)}. Stopped before the "
            "optimizer step; the last checkpoint is good. Usual cause: learning rate too high, or "
            "bad data."
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    scaled: Any = optimizer  # by torch.amp's attribute; its only reader is this step
    divisor = (total.float() + 1e-6) / max_grad_norm
    scaled.grad_scale = divisor if norm + 1e-6 > max_grad_norm else None
    optimizer.step()
    scaled.grad_scale = None
    optimizer.zero_grad(set_to_none=True)
    return norm


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm [] of all gradients, one at least: that of the norms of their rows.

    `nn.utils.get_total_norm` takes one sum of a whole tensor, on one thread: 1.6 times the time of
    two, and in fp32 off by 5e-4 of itself at 135M weights, sums of rows by 5e-8 (docs/log.md).
    """
    norm = torch.linalg.vector_norm
    found: Tensor = norm(torch.cat([norm(gradient, dim=-1).flatten() for gradient in gradients]))
    return found


def _not_finite(optimizer: torch.optim.Optimizer) -> str:
    """Which weights have a gradient that is not finite."""
    found = [
        name
        for group in optimizer.param_groups
        for name, p in zip(group.get("param_names", ()), group["params"], strict=False)
        if p.grad is not None and not bool(p.grad.isfinite().all())
    ]
    return f", first in {found[0]} ({len(found)} tensors)" if found else ""


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move an exponential moving average of the trainable weights one step along."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            average[name].lerp_(parameter.detach(), 1 - decay)


def trainable_weights(model: nn.Module) -> dict[str, Tensor]:
    """The trainable weights themselves by name; they move with the next step."""
    return {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the trainable weights by name."""
    return {name: weight.clone() for name, weight in trainable_weights(model).items()}


@torch.no_grad()
def load_trainable(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put weights taken by `trainable_state` back."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(state[name])


def training_tensors(
    name: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """What a checkpoint holds of a model in training: its trainable weights and Adam's state.

    No copies: a checkpoint of a large model must not need its memory a second time.
    """
    tensors = {f"{name}/{key}": value for key, value in trainable_weights(model).items()}
    return tensors | {
        f"{name}.optimizer/{key}": value for key, value in optimizer_tensors(optimizer).items()
    }


def load_training(
    name: str, model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint
) -> None:
    """Put back what `training_tensors` took."""
    load_trainable(model, checkpoint.group(name))
    load_optimizer(optimizer, checkpoint.group(f"{name}.optimizer"))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors, for a checkpoint without pickles."""
    return {
        f"{index}.{name}": value
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put a state taken by `optimizer_tensors` back, into the tensors that are there."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        optimizer.state[weights[int(index)]][name].copy_(value)
