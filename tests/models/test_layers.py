"""Fused layers must be transformers' own, gradients too, in every kind of pass that there is."""

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from toys import END, KINDS, pair, tiny_model
from transformers import LlamaForSequenceClassification, PreTrainedModel

from preceptor.config import LoRAConfig
from preceptor.generation import row_uniforms, sample
from preceptor.models import forward, kernels, layers
from preceptor.models.attention import prefer_plain_attention
from preceptor.models.forward import grouped_scores, make_rows, response_logprobs, response_scores
from preceptor.models.layers import fuse_layers, is_fused
from preceptor.models.lora import add_adapters
from preceptor.models.precision import precision

needs_compiler = pytest.mark.skipif(not kernels.available(), reason=kernels.missing())
PROMPTS = [[6, 7, 8], [9, 10, 11, 12, 13, 14, 15], [16]]
RESPONSES = [[17, 18, END], [19], [20, 21, 22, 23, END]]


def padded(model: PreTrainedModel) -> Tensor:
    return model(torch.arange(6, 26).view(2, 10)).logits


def packed(model: PreTrainedModel) -> Tensor:
    return response_logprobs(model, make_rows(PROMPTS, RESPONSES))


def checkpointed(model: PreTrainedModel) -> Tensor:
    model.train()
    model.gradient_checkpointing_enable()
    return padded(model)


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ask", [padded, packed, checkpointed])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_they_say_and_learn_is_what_transformers_layers_do(
    kind: str, ask: Callable[[PreTrainedModel], Tensor], dtype: str
):
    close = 1e-4 if dtype == "fp32" else 0.05
    plain, fused = pair(kind)
    with precision(dtype):
        expected, found = ask(plain), ask(fused)
    torch.testing.assert_close(found, expected, atol=close, rtol=close)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (expected.float() * weights).sum().backward()
    (found.float() * weights).sum().backward()
    ours, theirs = dict(fused.named_parameters()), dict(plain.named_parameters())
    for name, parameter in theirs.items():
        gap = (ours[name].grad - parameter.grad).norm() / parameter.grad.norm()
        assert gap < close, f"{name}: {gap}"


@needs_compiler
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("longest", [4, 256])
@pytest.mark.parametrize("spare", [True, False])  # token by token through these layers, or not
def test_with_a_cache_they_draw_what_transformers_layers_draw(dtype, longest, spare, monkeypatch):
    monkeypatch.setattr("preceptor.models.attention.LONGEST", longest)
    plain, fused = pair()
    uniforms = row_uniforms(0, "x", [(row,) for row in range(12)], 40)
    with precision(dtype):
        expected, found = (
            sample(m, PROMPTS * 4, uniforms, stop_ids=[END], spare_memory=spare)
            for m in (plain, fused)
        )
    told, drawn = (
        torch.tensor([x for row in each.logprobs for x in row[:5]]) for each in (expected, found)
    )
    if dtype == "fp32":  # in bf16 one draw that falls to the other side changes what follows
        assert found.responses == expected.responses
        torch.testing.assert_close(drawn, told, atol=1e-4, rtol=1e-4)
    same = [a[:3] == b[:3] for a, b in zip(found.responses, expected.responses, strict=True)]
    assert sum(same) >= 9


@needs_compiler
def test_prompts_with_their_responses_are_scored_as_in_rows_of_their_own():
    torch.manual_seed(0)
    config = pair()[0].config
    config.num_labels = 1
    model = LlamaForSequenceClassification(config).eval()
    prefer_plain_attention(model)
    fuse_layers(model)
    assert is_fused(model.model.layers[0])
    responses = [RESPONSES[:2], RESPONSES[1:], RESPONSES[2:]]
    found = grouped_scores(model, PROMPTS, responses)
    flat = [(p, r) for p, own in zip(PROMPTS, responses, strict=True) for r in own]
    expected = response_scores(model, make_rows(*zip(*flat, strict=True)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@needs_compiler
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_last_layer_ends_with_what_is_asked_for(dtype, monkeypatch):
    """Its MLP is multiplied for those places alone, and what they learn is what all would learn."""
    _, model = pair()
    rows = make_rows(PROMPTS, RESPONSES)
    seen = []
    mlp = model.model.layers[-1].mlp.down_proj
    mlp.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    found = []
    for early in (True, False):
        if not early:
            monkeypatch.setattr(forward, "last_layer", lambda _: None)
        model.zero_grad()
        with precision(dtype):
            scores = forward.row_states(model, rows, rows.last)
        scores.square().sum().backward()
        learned = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        found.append((scores, *learned))
    assert seen == [len(PROMPTS), len(rows.input_ids)]
    close = 1e-5 if dtype == "fp32" else 0.02
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() <= close * theirs.norm()


@needs_compiler
def test_adapters_learn_through_them():
    plain, fused = pair()
    for model in (plain, fused):
        add_adapters(model, LoRAConfig(rank=2), seed=0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.constant_(parameter, 0.02)
    expected, found = packed(plain), packed(fused)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    expected.sum().backward()
    found.sum().backward()
    learned = {n: p.grad for n, p in fused.named_parameters() if p.requires_grad}
    assert learned
    for name, parameter in plain.named_parameters():
        if parameter.requires_grad:
            gap = (learned[name] - parameter.grad).norm() / parameter.grad.norm()
            assert gap < 1e-3, name


@needs_compiler
def test_a_model_that_is_dropped_is_gone_at_once():
    """A layer that held itself would hold its weights until somebody collects."""
    _, fused = pair()
    layer = weakref.ref(fused.model.layers[0])
    gc.disable()
    try:
        del fused
        assert layer() is None
    finally:
        gc.enable()


@needs_compiler
@pytest.mark.parametrize("how", ["layers", "config"])
def test_a_trunk_of_fewer_layers_than_it_had_ends_with_what_is_asked_for(how):
    plain, fused = pair()
    for model in (plain, fused):
        if how == "layers":
            model.model.layers = model.model.layers[:1]
        else:
            model.config.num_hidden_layers = 1
    torch.testing.assert_close(packed(fused), packed(plain), atol=1e-4, rtol=1e-4)


@needs_compiler
def test_heads_that_are_turned_in_part_go_transformers_way():
    plain, fused = pair()
    for model in (plain, fused):
        rotary = model.model.rotary_emb
        real = rotary.forward
        model.model.rotary_emb.forward = lambda x, position_ids, real=real: tuple(
            each[..., :1] for each in real(x, position_ids)
        )
    torch.testing.assert_close(padded(fused), padded(plain), atol=1e-5, rtol=1e-5)


@needs_compiler
def test_a_copy_of_a_model_uses_its_own_weights():
    _, fused = pair()
    other = copy.deepcopy(fused)
    before = padded(fused)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    torch.testing.assert_close(padded(fused), before, atol=0, rtol=0)
    assert not padded(other).any()


@needs_compiler
def test_a_number_that_is_none_stays_so():
    """A loss of NaN is refused; one that a kernel has hidden would be trained on."""
    _, fused = pair()
    with torch.no_grad():
        fused.model.layers[0].mlp.gate_proj.weight[0, 0] = torch.nan
    for dtype in ("fp32", "bf16"):
        with precision(dtype):
            assert packed(fused)[:, 0].isnan().all()


@needs_compiler
@pytest.mark.parametrize("change", ["eager", "additive", "dropout", "hidden"])
def test_what_they_do_not_know_goes_transformers_way(change, monkeypatch):
    plain, fused = pair()
    monkeypatch.setattr(layers, "add_rms_norm", None)  # would be called in vain
    ids, options = torch.arange(6, 26).view(2, 10), {}
    for model in (plain, fused):
        if change == "eager":
            model.set_attn_implementation("eager")
        elif change == "dropout":
            model.train()
            for layer in model.model.layers:
                layer.self_attn.attention_dropout = 1e-9
        elif change == "hidden":
            model.to(torch.bfloat16)
    if change == "additive":
        options["attention_mask"] = torch.zeros(2, 1, 10, 10)
    torch.testing.assert_close(fused(ids, **options).logits, plain(ids, **options).logits)


@needs_compiler
def test_layers_with_a_window_are_left_alone():
    plain, fused = pair("mistral", sliding_window=4)
    torch.testing.assert_close(padded(fused), padded(plain))


def test_without_kernels_a_model_is_left_alone(monkeypatch):
    monkeypatch.setattr(layers, "available", lambda: False)
    model = tiny_model()
    assert not [m for m in model.modules() if hasattr(m, "plain_forward")]
