"""The shared step against one large batch, closed forms, and planted accidents."""

import math

import pytest
import torch
from toys import END, tiny_model

from preceptor.config import SFTConfig, TrainConfig
from preceptor.errors import TrainingError
from preceptor.stages.sft import demonstration_losses
from preceptor.training.optimization import (
    accumulate,
    load_optimizer,
    make_optimizer,
    optimizer_tensors,
    scheduled_rate,
    take_step,
    total_norm,
    trainable_state,
    update_average,
)

PROMPTS = [[6, 7, 8], [9], [10, 11, 12, 13, 14, 15], [6, 9]]
RESPONSES = [[10, 11, END], [7, 8, 9, 10, 11, END], [END], [12, END]]


def gradient(microbatch_tokens: int) -> tuple[float, torch.Tensor]:
    model = tiny_model("llama")
    config = SFTConfig(microbatch_tokens=microbatch_tokens)
    loss = accumulate(demonstration_losses(model, PROMPTS, RESPONSES, config), "test")
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return loss, torch.cat(grads)


@pytest.mark.parametrize("budget", [1, 9, 14, 10_000])
def test_any_microbatch_split_gives_the_gradient_of_one_batch(budget):
    """Lengths differ, so a mean of microbatch means would not."""
    loss, grad = gradient(budget)
    model = tiny_model("llama")
    total, count = torch.zeros(()), 0
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        logits = model(torch.tensor([prompt + response])).logits[0]
        targets = torch.tensor(response)
        picked = logits[len(prompt) - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(picked, targets, reduction="sum")
        count += len(response)
    (total / count).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert loss == pytest.approx(float(total.detach()) / count, abs=1e-6)
    torch.testing.assert_close(grad, expected, atol=1e-6, rtol=1e-5)


def test_a_non_finite_loss_or_gradient_moves_no_weight():
    model = torch.nn.Linear(2, 1)
    optimizer = make_optimizer(model, TrainConfig())
    before = trainable_state(model)
    with pytest.raises(TrainingError, match="step 7.*loss is nan"):
        accumulate([model(torch.full((1, 2), float("nan"))).sum()], "sft step 7")
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for value in ("inf", "nan"):
        model.bias.grad[0] = float(value)
        with pytest.raises(TrainingError, match=rf"norm is {value}, first in bias \(1 tensors\)"):
            take_step(optimizer, learning_rate=1.0, max_grad_norm=1.0, where="sft step 7")
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_the_gradient_norm_is_clipped_globally_and_only_where_it_is_larger():
    """Beside PyTorch's own clipping and AdamW, at norms far from the largest allowed and near."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = torch.nn.Linear(70, 3), torch.nn.Linear(70, 3)
    theirs.load_state_dict(ours.state_dict())
    config = TrainConfig(weight_decay=0.1)
    optimizer = make_optimizer(ours, config)
    plain = torch.optim.AdamW(
        [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias]}],
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_eps,
        lr=0.01,
        weight_decay=0.0,
        fused=False,
    )
    for size in (100.0, 0.001, 1.2, 0.8, 3.0):
        gradients = [torch.randn(p.shape, generator=generator) for p in ours.parameters()]
        factor = 0.5 * size / math.sqrt(sum(float(g.square().sum()) for g in gradients))
        pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
        for (own, other), gradient in zip(pairs, gradients, strict=True):
            own.grad, other.grad = factor * gradient, factor * gradient
        norm = take_step(optimizer, learning_rate=0.01, max_grad_norm=0.5, where="test")
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        plain.step()
        assert norm == pytest.approx(0.5 * size, rel=1e-5)
        for own, other in pairs:
            torch.testing.assert_close(own, other, atol=1e-7, rtol=1e-5)
            for name in ("exp_avg", "exp_avg_sq"):
                found, wanted = optimizer.state[own][name], plain.state[other][name]
                torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-4)


def test_an_optimizer_that_cannot_clip_is_refused():
    model = torch.nn.Linear(2, 2)
    unfused = torch.optim.AdamW(model.parameters(), fused=False)
    with pytest.raises(ValueError, match="must be a fused one"):
        take_step(unfused, learning_rate=1.0, max_grad_norm=0.5, where="test")


def test_the_norm_of_millions_of_gradients_keeps_fp32s_digits():
    """One sum of them all is off by nearly 1e-4: each square is small beside what is summed."""
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(size, generator=generator) for size in ((4096, 1024), (7,), ())]
    exact = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    assert float(total_norm(gradients)) == pytest.approx(exact, rel=1e-6)


def test_schedules_start_peak_and_end_where_the_paper_says():
    cosine = TrainConfig(schedule="cosine", warmup_fraction=0.1, final_fraction=0.1)
    assert scheduled_rate(cosine, 0, 100, 2.0) == pytest.approx(0.2)
    assert scheduled_rate(cosine, 10, 100, 2.0) == pytest.approx(2.0)
    assert scheduled_rate(cosine, 55, 100, 2.0) == pytest.approx(1.1)
    assert scheduled_rate(cosine, 100, 100, 2.0) == pytest.approx(0.2)
    constant = TrainConfig(schedule="constant", warmup_fraction=0.5)
    assert scheduled_rate(constant, 60, 100, 3.0) == 3.0
    linear = TrainConfig(schedule="linear", final_fraction=0.0)
    assert scheduled_rate(linear, 50, 100, 3.0) == pytest.approx(1.5)


def test_the_average_equals_its_closed_form():
    """After n steps of weights w_1..w_n: decay^n w_0 + (1 - decay) sum decay^(n-i) w_i."""
    model = torch.nn.Linear(1, 1, bias=False)
    decay, seen = 0.9, [float(model.weight.detach())]
    average = trainable_state(model)
    for i in range(1, 8):
        with torch.no_grad():
            model.weight.fill_(i * i)
        seen.append(float(i * i))
        update_average(average, model, decay)
    n = len(seen) - 1
    expected = decay**n * seen[0] + (1 - decay) * sum(
        decay ** (n - i) * seen[i] for i in range(1, n + 1)
    )
    assert float(average["weight"]) == pytest.approx(expected, rel=1e-5)


def test_a_restored_optimizer_goes_on_bit_for_bit():
    def train(model, optimizer, steps):
        for step in steps:
            model(torch.tensor([[1.0, float(step)]])).sum().backward()
            take_step(optimizer, learning_rate=0.01, max_grad_norm=1.0, where="test")

    torch.manual_seed(0)
    whole = torch.nn.Linear(2, 2)
    start = {name: value.clone() for name, value in whole.state_dict().items()}
    optimizer = make_optimizer(whole, TrainConfig(weight_decay=0.1))
    train(whole, optimizer, range(3))
    saved = {name: value.clone() for name, value in optimizer_tensors(optimizer).items()}
    weights = {name: value.clone() for name, value in whole.state_dict().items()}
    train(whole, optimizer, range(3, 6))

    resumed = torch.nn.Linear(2, 2)
    resumed.load_state_dict(start)
    again = make_optimizer(resumed, TrainConfig(weight_decay=0.1))
    resumed.load_state_dict(weights)
    load_optimizer(again, saved)
    train(resumed, again, range(3, 6))
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True)
    )


def test_decay_touches_matrices_only():
    groups = make_optimizer(torch.nn.Linear(3, 2), TrainConfig(weight_decay=0.1)).param_groups
    assert {g["params"][0].dim(): g["weight_decay"] for g in groups} == {2: 0.1, 1: 0.0}
