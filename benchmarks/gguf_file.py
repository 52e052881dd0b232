"""A model of the comparison as the one file that llama.cpp reads.

Written from the very weights that the other sides load. Requests are ids, so it has no words.
"""

import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors.numpy import load_file

PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""What a block's parts are called there."""
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}


def write_gguf(model: Path, out: Path, dtype: GGMLQuantizationType) -> None:
    """Write a Llama folder's weights, matrices in `dtype` and the rest in fp32.

    The head is the table of embeddings, as in all shapes here.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    writer = GGUFWriter(out, "llama")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_tokenizer_model("no_vocab")
    for name, weight in load_file(model / "model.safetensors").items():
        own = name_of(name.removesuffix(".weight"))
        if own.endswith(("attn_q", "attn_k")):
            weight = interleaved(weight, heads if own.endswith("attn_q") else groups)
        kind = dtype if weight.ndim > 1 else GGMLQuantizationType.F32
        writer.add_tensor(f"{own}.weight", quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def name_of(name: str) -> str:
    """The name of a weight there: model.layers.3.mlp.up_proj is blk.3.ffn_up."""
    if name in NAMES:
        return NAMES[name]
    number, part = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{number}.{PARTS[part]}"


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows [heads * d, D] in the order of llama.cpp, which rotates neighbours and not halves."""
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))
