"""A GGUF file becomes an ordinary model folder with the same weights; the permutation is caught."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from preceptor.data.packages import cached_package
from preceptor.errors import DataError
from preceptor.models.gguf import (
    SMOLLM2_PACKAGE,
    check_perplexity,
    import_gguf,
    smollm2_folder,
)
from preceptor.models.load import load_policy
from preceptor.models.tokenizers import encode_prompt, encode_response, separator_id

gguf = pytest.importorskip("gguf")

HEADS, KV_HEADS, WIDTH, LAYERS = 4, 2, 32, 2
BLANK = chr(288)  # stands for the blank in a byte-level vocabulary
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<spare_1>", "<spare_2>"]


def vocabulary() -> list[str]:
    """Special tokens, the 256 characters that stand for bytes, and one merged token."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [256 + i for i in range(256 - len(printable))]
    return [*SPECIAL, *(chr(code) for code in (*printable, *others)), f"{BLANK}t"]


def toy_model() -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary()), hidden_size=WIDTH, intermediate_size=48,
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
        max_position_embeddings=128, tie_word_embeddings=True, rms_norm_eps=1e-5,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows as llama.cpp stores them: the two halves of each head, one row of each in turn."""
    half = weight.shape[0] // heads // 2
    rows = [head * 2 * half + part * half + i for head in range(heads) for i in range(half)
            for part in range(2)]  # fmt: skip
    return weight[rows]


def write_gguf(model: PreTrainedModel, path: Path, *, permute: bool = True) -> Path:
    """A GGUF of our own making, in the layout of llama.cpp's converter."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(48)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(vocabulary()))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary())
    writer.add_token_types([3] * len(SPECIAL) + [1] * 257)
    writer.add_token_merges([f"{BLANK} t"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
    }
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for layer in range(LAYERS):
        for ours, theirs in parts.items():
            names[f"model.layers.{layer}.{ours}.weight"] = f"blk.{layer}.{theirs}.weight"
    state = model.state_dict()
    for ours, theirs in names.items():
        weight = state[ours]
        if permute and "attn_q." in theirs:
            weight = interleaved(weight, HEADS)
        if permute and "attn_k." in theirs:
            weight = interleaved(weight, KV_HEADS)
        writer.add_tensor(theirs, weight.numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def accept(model: object, tokenizer: object) -> None:
    """No check: toy weights have no known perplexity."""


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[7, 30, 99, 42, 5, 200]])).logits


def test_the_imported_model_computes_what_the_original_did(tmp_path: Path):
    original = toy_model()
    source = write_gguf(original, tmp_path / "toy.gguf")
    folder = import_gguf(source, tmp_path / "model", check=accept)
    imported, tokenizer = load_policy(folder)
    torch.testing.assert_close(logits(imported), logits(original), atol=1e-5, rtol=1e-5)

    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert hashlib.sha256(source.read_bytes()).hexdigest() in (folder / "README.md").read_text()
    saved = json.loads((folder / "tokenizer_config.json").read_text())
    assert saved["pad_token"] == tokenizer.pad_token == "<spare_2>"
    assert json.loads((folder / "config.json").read_text())["pad_token_id"] == 4
    assert imported.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    assert separator_id(tokenizer) == 0


def test_a_file_left_unpermuted_gives_another_model(tmp_path: Path):
    """The comparison above would see the mistake that the perplexity check is for."""
    original = toy_model()
    source = write_gguf(original, tmp_path / "toy.gguf", permute=False)
    imported, _ = load_policy(import_gguf(source, tmp_path / "model", check=accept))
    assert not torch.allclose(logits(imported), logits(original), atol=1e-3)


def test_the_template_adds_no_system_turn_and_serves_training_and_use(tmp_path: Path):
    source = write_gguf(toy_model(), tmp_path / "toy.gguf")
    _, tokenizer = load_policy(import_gguf(source, tmp_path / "model", check=accept))
    prompt = encode_prompt(tokenizer, "Hi")
    assert tokenizer.decode(prompt) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    whole = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}], tokenize=False
    )
    learned = tokenizer.decode([*prompt, *encode_response(tokenizer, "Yes")])
    assert whole == learned + "\n"
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert tokenizer.decode(encode_prompt(tokenizer, system)).startswith("<|im_start|>system\nBe")


def test_weights_that_are_not_smollm2_are_refused_and_leave_nothing(tmp_path: Path):
    source = write_gguf(toy_model(), tmp_path / "toy.gguf")
    with pytest.raises(DataError, match="permutation"):
        import_gguf(source, tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="not a GGUF file"):
        import_gguf(b"PK\x03\x04 something else", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_smollm2_is_imported_rightly():
    if cached_package(SMOLLM2_PACKAGE) is None:
        pytest.skip(f"package {SMOLLM2_PACKAGE} is not in the cache")
    model, tokenizer = load_policy(smollm2_folder())
    assert check_perplexity(model, tokenizer) == pytest.approx(8.389, abs=0.05)
    prompt = encode_prompt(tokenizer, "What is the capital of France?")
    with torch.no_grad():
        found = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
    said = tokenizer.decode(found[0, len(prompt) :])
    assert said == "The capital of France is Paris.<|im_end|>"

    scrambled = model.state_dict()
    for name, weight in scrambled.items():
        heads = {"q_proj.weight": 9, "k_proj.weight": 3}.get(".".join(name.split(".")[-2:]))
        if heads:
            scrambled[name] = interleaved(weight, heads)
    model.load_state_dict(scrambled)
    with pytest.raises(DataError, match="perplexity 2[67]"):
        check_perplexity(model, tokenizer)
