"""Frozen weights in bf16: which are, that nothing is read twice for it, and what is saved."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from toys import tiny_model, tiny_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from preceptor.config import LoRAConfig
from preceptor.generation import row_uniforms, sample
from preceptor.generation.decoder import Decoder
from preceptor.models import halves, mapped, vocabulary
from preceptor.models.forward import make_rows, response_logprobs, row_states
from preceptor.models.load import (
    halved_base,
    load_frozen_policy,
    load_frozen_scalar,
    load_policy,
    load_scalar,
    save_model,
    scalar_from_policy,
    scalar_head,
    with_lora,
)
from preceptor.models.mapped import mappings, read
from preceptor.models.precision import precision
from preceptor.models.vocabulary import head_logits, head_logprobs

ROWS = make_rows([[6, 7], [8]], [[9, 1], [10, 11, 1]])
KINDS = ["llama", "gqa", "gpt2"]


def dtypes(model, *, ends):
    """What every weight is expected to be, by name."""
    expected = {}
    for name, parameter in model.named_parameters():
        is_end = any(word in name for word in ("embed_tokens", "wte", "wpe", "lm_head"))
        matrix = parameter.dim() > 1 or ("gpt2" in str(type(model)) and "ln" not in name)
        half = not any(word in name for word in ("lora_", "score")) and matrix
        expected[name] = torch.bfloat16 if half and (ends or not is_end) else torch.float32
    return expected


def saved(tmp_path, kind, dtype=torch.float32):
    """A model folder, in the precision in which somebody may have published it."""
    model = tiny_model(kind).to(dtype)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_under_adapters_every_matrix_is_bf16_and_what_learns_is_fp32(tmp_path, kind, stored):
    folder = saved(tmp_path, kind, stored)
    halved = halved_base(LoRAConfig(), "bf16")
    policy = with_lora(load_policy(folder, halved)[0], LoRAConfig(rank=2), 0)
    value = with_lora(scalar_from_policy(folder, 1, halved), LoRAConfig(rank=2), 0)
    save_model(value, tiny_tokenizer(), folder / "scalar")
    again = load_scalar(folder / "scalar", halved)
    for model in (policy, value, again):
        assert {n: p.dtype for n, p in model.named_parameters()} == dtypes(model, ends=True)
    assert {p.dtype for p in policy.parameters() if p.requires_grad} == {torch.float32}
    assert any("lora_" in name for name, _ in policy.named_parameters())


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_frozen_models_keep_both_ends_in_fp32(tmp_path, kind, stored):
    folder = saved(tmp_path, kind, stored)
    save_model(scalar_from_policy(folder, 1), tiny_tokenizer(), folder / "scalar")
    models = load_frozen_policy(folder, "bf16")[0], load_frozen_scalar(folder / "scalar", "bf16")
    for model in models:
        assert {n: p.dtype for n, p in model.named_parameters()} == dtypes(model, ends=False)
        assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("lora", [None, LoRAConfig()])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_only_frozen_weights_of_a_bf16_stage_are_halved(tmp_path, lora, dtype):
    model, _ = load_policy(saved(tmp_path, "llama"), halved_base(lora, dtype))
    kinds = {parameter.dtype for parameter in model.parameters()}
    halved = lora is not None and dtype == "bf16"
    assert (torch.bfloat16 in kinds) == halved


@pytest.mark.parametrize("halved", ["nothing", "blocks", "all"])
def test_weights_published_in_bf16_are_read_as_they_are(tmp_path, halved):
    model, _ = load_policy(saved(tmp_path, "llama", torch.bfloat16), halved)
    for name, stored in load_file(tmp_path / "model.safetensors").items():
        assert stored.dtype == torch.bfloat16
        assert torch.equal(model.state_dict()[name].float(), stored.float())
    assert model.config.dtype == torch.float32  # in which it computes, and is saved
    assert not [b for b in model.buffers() if b.is_floating_point() and b.dtype != torch.float32]


class Largest(TorchDispatchMode):
    """Notes the most numbers in fp32 that any one operation has made memory for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
                known = any(
                    isinstance(a, torch.Tensor)
                    and a.device.type == "cpu"
                    and a.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
                    for a in args
                )
                if tensor.dtype == torch.float32 and not known:
                    self.count = max(self.count, tensor.numel())
        return out


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_halved_weights_are_never_whole_in_fp32(tmp_path, monkeypatch, stored):
    """But for a part of them, and what stays fp32: norms of 16 numbers, a head of 16."""
    folder = saved(tmp_path, "llama", stored)
    monkeypatch.setattr(mapped, "PART", 20)
    # Four tokens' vectors and logits, of the look at its ends, are larger than this model's norms.
    monkeypatch.setattr("preceptor.models.load._require_known_ends", lambda *_: None)
    with Largest() as made:
        load_policy(folder, "all")
        scalar_from_policy(folder, 1, "all")
    assert made.count == 20 if stored == torch.float32 else made.count <= 20
    with Largest() as made:  # the smallest matrix has 256 numbers
        load_policy(folder)
    assert made.count >= 256


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="only Linux tells")
def test_a_mapped_file_is_read_without_being_held(tmp_path):
    """Eight megabytes, which would all count as this process's memory."""
    config = LlamaConfig(
        vocab_size=16_384,
        hidden_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    model, _ = load_policy(tmp_path, "all")  # the views of the whole weights keep it mapped
    assert mappings()
    assert resident_of(str(tmp_path)) < 2**20
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16


def resident_of(path: str) -> int:
    """Bytes of mapped files below a path that are in memory, as the system tells it."""
    total, inside = 0, False
    with open("/proc/self/smaps", encoding="utf-8") as file:
        for line in file:
            first = line.split(maxsplit=1)[0]
            if not first.endswith(":"):
                inside = path in line
            elif inside and first == "Rss:":
                total += int(line.split()[1]) * 1024
    return total


def test_a_system_that_tells_nothing_has_its_weights_read_as_they_are(tmp_path, monkeypatch):
    assert mappings(maps=tmp_path / "none") == []
    monkeypatch.setattr(halves, "mappings", list)
    folder = saved(tmp_path, "llama")
    model, _ = load_policy(folder, "all")
    for name, stored in load_file(folder / "model.safetensors").items():
        found = model.state_dict()[name]
        assert torch.equal(found, stored.to(found.dtype))


def test_a_file_that_was_replaced_is_not_read_in_the_old_ones_place(tmp_path):
    folder = saved(tmp_path, "llama")
    model, _ = load_policy(folder, "all")
    before = load_file(folder / "model.safetensors")
    tiny_model("llama", seed=9).save_pretrained(folder / "other")
    (folder / "other" / "model.safetensors").replace(folder / "model.safetensors")
    save_model(with_lora(model, LoRAConfig(rank=2), 0), tiny_tokenizer(), tmp_path / "saved")
    for name, weight in load_file(tmp_path / "saved" / "model.safetensors").items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_halved_is_saved_whole(tmp_path, kind):
    """Adapters that learned nothing: the very numbers of the file, and it says they are fp32."""
    folder = saved(tmp_path, kind)
    model = with_lora(load_policy(folder, "all")[0], LoRAConfig(rank=2), 0)
    save_model(model, tiny_tokenizer(), tmp_path / "saved")
    saved_again = load_file(tmp_path / "saved" / "model.safetensors")
    before = load_file(folder / "model.safetensors")
    assert saved_again.keys() == before.keys()
    for name, weight in saved_again.items():
        assert weight.dtype == torch.float32 and torch.equal(weight, before[name])
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == "float32"


def test_parts_of_a_weight_make_the_whole(monkeypatch):
    monkeypatch.setattr(mapped, "PART", 7)
    weight = torch.randn(5, 9)
    same, exact = read(weight, torch.float32, [])
    assert exact and torch.equal(same, weight) and same.data_ptr() != weight.data_ptr()
    half, exact = read(weight, torch.bfloat16, [])
    assert not exact and torch.equal(half, weight.bfloat16())
    assert read(half.float(), torch.bfloat16, [])[1]
    assert read(weight.T, torch.float32, [])[0].equal(weight.T)


@pytest.mark.parametrize("kind", KINDS)
def test_the_residual_stream_stays_fp32_over_halved_embeddings(tmp_path, kind, monkeypatch):
    """In bf16 every sum of the stream would be rounded, in all passes."""
    model, _ = load_policy(saved(tmp_path, kind), "all")
    kinds = []
    first = model.model.layers[0] if kind != "gpt2" else model.transformer.h[0]
    first.register_forward_pre_hook(lambda _, given: kinds.append(given[0].dtype))
    with precision("bf16"), torch.no_grad():
        row_states(model, ROWS, ROWS.predicts)
        uniforms = row_uniforms(0, "t", [(0,)], 2)
        sample(model, [[6, 7]], uniforms, stop_ids=[1], spare_memory=True)
        assert len(kinds) == 3
        step = Decoder.step
        monkeypatch.setattr(
            Decoder, "step", lambda *given: kinds.append(given[1].dtype) or step(*given)
        )
        sample(model, [[6, 7]], uniforms, stop_ids=[1])
    assert len(kinds) == 5 and set(kinds) == {torch.float32}


@pytest.mark.parametrize("parts", [1, 5])
def test_logits_of_a_halved_head_are_the_fp32_product(tmp_path, monkeypatch, parts):
    """And no part of the table is fp32 for longer than it is multiplied."""
    model, _ = load_policy(saved(tmp_path, "llama"), "all")
    head = model.get_output_embeddings()
    size, width = head.weight.shape
    monkeypatch.setattr(vocabulary, "PART_BYTES", -(-size // parts) * width * 4)
    states = torch.randn(6, width, generator=torch.Generator().manual_seed(0))
    whole = states @ head.weight.float().T
    with precision("bf16"), torch.no_grad(), Largest() as made:
        logits = head_logits(model, states)
    torch.testing.assert_close(logits, whole, atol=1e-5, rtol=1e-6)
    assert made.count == max(-(-size // parts) * width, 6 * size)
    states.requires_grad_()
    tokens = torch.arange(6)
    found, _ = head_logprobs(model, states, tokens)
    torch.testing.assert_close(found, whole.log_softmax(-1)[tokens, tokens], atol=1e-5, rtol=0)
    found.sum().backward()
    plain = states.detach().requires_grad_()
    (plain @ head.weight.float().T).log_softmax(-1)[tokens, tokens].sum().backward()
    torch.testing.assert_close(states.grad, plain.grad, atol=0.05, rtol=0.02)


def test_a_halved_policy_with_adapters_is_its_own_reference(tmp_path):
    """To the bit: what is rounded is so for both, and the scalar head is not."""
    folder = saved(tmp_path, "llama")
    plain, _ = load_policy(folder, "all")
    model = with_lora(load_policy(folder, "all")[0], LoRAConfig(rank=2), 0)
    with precision("bf16"), torch.no_grad():
        assert torch.equal(response_logprobs(model, ROWS), response_logprobs(plain, ROWS))
    scalar = scalar_from_policy(folder, 1, "all")
    assert scalar_head(scalar).weight.dtype == torch.float32
