"""The model shapes that the benchmarks have in common."""

from transformers import LlamaConfig

SHAPES = {"miniature": (128, 4, 4, 4, 512), "SmolLM2-135M": (576, 9, 3, 30, 1536)}
"""Width, heads, key-value heads, layers, inner width."""


def config_of(name: str, **options: str) -> LlamaConfig:
    """A configuration of this shape with a small vocabulary: only the trunk is run."""
    width, heads, groups, layers, inner = SHAPES[name]
    return LlamaConfig(
        vocab_size=512,
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        num_hidden_layers=layers,
        intermediate_size=inner,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        **options,
    )
