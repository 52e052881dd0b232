"""The decoder draws what the layers draw, whatever rows leave and however long it goes on."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from toys import END, KINDS, pair, tiny_model
from transformers import PreTrainedModel

from preceptor.config import LoRAConfig
from preceptor.generation import Generated, decoder, row_uniforms, sample
from preceptor.generation.decoder import decodable, fast_steps
from preceptor.models import kernels
from preceptor.models.forward import make_rows, response_logprobs
from preceptor.models.lora import add_adapters
from preceptor.models.precision import precision, sampling_tolerance

needs_compiler = pytest.mark.skipif(not kernels.available(), reason=kernels.missing())
PROMPTS = [[6, 7, 8], [9, 10, 11, 12, 13, 14, 15], [16], [6, 7, 8], [17, 18]]


def drawn(model: PreTrainedModel, times: int = 3, length: int = 70) -> Generated:
    prompts = PROMPTS * times
    uniforms = row_uniforms(0, "x", [(row,) for row in range(len(prompts))], length)
    return sample(model, prompts, uniforms, stop_ids=[END, 20])


@contextmanager
def without_decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "decodable", lambda _: [])
        yield


@needs_compiler
@pytest.mark.parametrize(
    ("kind", "heads", "head_dim"),
    [*((kind, (4, 2), 16) for kind in KINDS), ("llama", (4, 1), 64), ("llama", (2, 2), 96)],
)
def test_it_draws_what_the_layers_draw(kind, heads, head_dim, monkeypatch):
    _, model = pair(kind, heads, head_dim)
    steps = []
    real = decoder.Decoder.step
    monkeypatch.setattr(decoder.Decoder, "step", lambda *a: steps.append(len(a[1])) or real(*a))
    found = drawn(model)
    assert steps[0] > steps[-1] and len(steps) > 32  # rows left, and memory grew
    with without_decoder(monkeypatch):
        expected = drawn(model)
    assert found.responses == expected.responses and found.finished == expected.finished
    for ours, theirs in zip(found.logprobs, expected.logprobs, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@needs_compiler
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_it_draws_has_the_log_probabilities_of_the_training_pass(dtype):
    _, model = pair()
    prompts = PROMPTS * 4
    with precision(dtype):
        found = drawn(model, 4, 40)
        rows = make_rows(prompts, found.responses)
        with torch.no_grad():
            again = response_logprobs(model, rows)[rows.response_mask]
    told = torch.tensor([number for row in found.logprobs for number in row])
    assert float((again - told).abs().max()) < sampling_tolerance(dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_a_row_says_does_not_depend_on_who_is_beside_it(dtype):
    _, model = pair()
    uniforms = row_uniforms(0, "x", [(row,) for row in range(5)], 20)
    with precision(dtype):
        together = sample(model, PROMPTS, uniforms, stop_ids=[END])
        alone = [
            sample(model, [prompt], uniforms[row : row + 1], stop_ids=[END]).responses[0]
            for row, prompt in enumerate(PROMPTS)
        ]
    same = sum(a == b for a, b in zip(alone, together.responses, strict=True))
    assert same == 5 if dtype == "fp32" else same >= 3


@needs_compiler
def test_so_many_rows_say_what_one_says():
    """Up to two walks over the weights and a row: 33, of which 16 go at once."""
    _, model = pair()
    uniforms = row_uniforms(0, "x", [(0,)], 6)
    alone = sample(model, PROMPTS[1:2], uniforms, stop_ids=[])
    for rows in range(2, 34):
        beside = sample(model, PROMPTS[1:2] * rows, uniforms.repeat(rows, 1), stop_ids=[])
        assert beside.responses == alone.responses * rows
        found, expected = torch.tensor(beside.logprobs), torch.tensor(alone.logprobs)
        torch.testing.assert_close(found, expected.expand(rows, -1), atol=1e-5, rtol=0)


@needs_compiler
def test_it_has_the_weights_of_the_moment(monkeypatch):
    _, model = pair()
    drawn(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    found = drawn(model)
    with without_decoder(monkeypatch):
        assert drawn(model).responses == found.responses


@needs_compiler
def test_models_that_it_does_not_know_are_sampled_by_their_own_layers():
    _, model = pair()
    assert decodable(model)
    adapted, biased, eager = (copy.deepcopy(model) for _ in range(3))
    add_adapters(adapted, LoRAConfig(rank=2), seed=0)
    mlp = biased.model.layers[1].mlp
    mlp.up_proj.bias = torch.nn.Parameter(torch.zeros(mlp.up_proj.out_features))
    eager.set_attn_implementation("eager")
    for other in (adapted, biased, eager, tiny_model("gpt2"), pair(head_dim=8)[1], pair()[0]):
        assert not decodable(other)
        with fast_steps(other) as found:
            assert found is None
    with fast_steps(model, spare_memory=True) as found:
        assert found is None


@needs_compiler
def test_structures_are_those_of_the_source():
    source = kernels.SOURCE.read_text(encoding="utf-8")
    for name, structure in (("Layer", kernels.LayerPointers), ("Sizes", kernels.LayerSizes)):
        begin = source.index(f"struct {name} {{") + len(f"struct {name} {{")
        lines = source[begin : source.index("};", begin)].splitlines()
        text = " ".join(line.split("//")[0] for line in lines)
        declared = [
            word.strip(" *").split()[-1].strip("*")
            for part in text.split(";")
            if part.strip()
            for word in part.split(",")
        ]
        assert declared == [field[0] for field in structure._fields_]
