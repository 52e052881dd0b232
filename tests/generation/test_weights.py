"""Ordered weights change the order of sums and nothing else, and leave no trace."""

import pytest
import torch
from torch import nn
from toys import END, tiny_model

from preceptor.config import LoRAConfig
from preceptor.generation import row_uniforms, sample
from preceptor.generation.weights import ordered_weights
from preceptor.models.forward import make_rows, response_logprobs
from preceptor.models.load import trunk
from preceptor.models.lora import add_adapters
from preceptor.models.precision import precision, sampling_tolerance
from preceptor.models.products import BF16

needs_onednn = pytest.mark.skipif(not BF16, reason="PyTorch without oneDNN's bf16 products")


def replaced(model: nn.Module) -> list[nn.Module]:
    linear = [module for module in model.modules() if type(module) is nn.Linear]
    return [module for module in linear if "forward" in module.__dict__]


@needs_onednn
@pytest.mark.parametrize("kind", ["llama", "gqa", "gpt2", "adapters"])
def test_states_are_those_of_the_plain_pass(kind):
    model = tiny_model("llama" if kind == "adapters" else kind)
    if kind == "adapters":
        add_adapters(model, LoRAConfig(rank=2), seed=0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter)
    ids = torch.arange(6, 18).view(2, 6)
    with torch.no_grad(), precision("bf16"):
        plain = trunk(model)(input_ids=ids).last_hidden_state
        with ordered_weights(model):
            assert bool(replaced(trunk(model))) == (kind != "gpt2")  # Conv1D is no Linear
            found = trunk(model)(input_ids=ids).last_hidden_state
    torch.testing.assert_close(found, plain, atol=3e-2, rtol=3e-2)


@needs_onednn
def test_to_spare_memory_nothing_is_copied_and_the_same_is_drawn():
    model = tiny_model("llama")
    uniforms = row_uniforms(0, "x", [(row,) for row in range(4)], 8)
    prompts = [[6, 7, 8], [9], [10, 11], [12]]
    with precision("bf16"), ordered_weights(model, spare=True):
        assert not replaced(model)
        quick, spared = (
            sample(model, prompts, uniforms, stop_ids=[END], spare_memory=spare)
            for spare in (False, True)
        )
    assert quick.responses == spared.responses


@needs_onednn
def test_what_is_sampled_has_the_log_probabilities_of_the_training_pass():
    model = tiny_model("gqa")
    prompts = [[6, 7, 8], [9], [10, 11, 12, 13]] * 4
    uniforms = row_uniforms(0, "x", [(row,) for row in range(len(prompts))], 12)
    with precision("bf16"):
        drawn = sample(model, prompts, uniforms, stop_ids=[END])
        with torch.no_grad():
            rows = make_rows(prompts, drawn.responses)
            again = response_logprobs(model, rows)
    told = torch.tensor([number for row in drawn.logprobs for number in row])
    gap = float((again[rows.response_mask] - told).abs().max())
    assert gap < sampling_tolerance("bf16")


@needs_onednn
def test_no_layer_keeps_them_also_after_an_error():
    model = tiny_model()
    with pytest.raises(KeyError), precision("bf16"), ordered_weights(model):
        assert replaced(model)
        raise KeyError
    assert not replaced(model)


def test_in_fp32_nothing_is_changed():
    model = tiny_model()
    with ordered_weights(model):
        assert not replaced(model)


@needs_onednn
@pytest.mark.parametrize("bias", [False, True])
def test_layers_that_usually_share_a_tensor_may_be_given_others(bias):
    model = tiny_model("gqa")
    attention = trunk(model).layers[0].self_attn
    names = ("q_proj", "k_proj", "v_proj")
    for place, name in enumerate(names):
        layer = getattr(attention, name)
        if bias:
            layer.bias = nn.Parameter(torch.full((layer.out_features,), float(place)))
    first, second = torch.randn(2, 3, 1, attention.q_proj.in_features)
    calls = [("k_proj", first), ("q_proj", first), ("v_proj", second), ("q_proj", second)]
    with torch.no_grad(), precision("bf16"):
        expected = [getattr(attention, name)(x) for name, x in calls]
        with ordered_weights(model):
            found = [getattr(attention, name)(x) for name, x in calls]
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)
