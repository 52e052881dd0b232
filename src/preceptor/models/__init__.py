"""Load, save and run transformers models; scalar heads; tokenizers; LoRA; GGUF import."""

from preceptor.models.load import load_policy, load_scalar, load_tokenizer, save_model

__all__ = ["load_policy", "load_scalar", "load_tokenizer", "save_model"]
