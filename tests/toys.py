"""Toy models of a few thousand parameters for the tests."""

import copy

import torch
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split, Whitespace
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from preceptor.data.records import PLAIN_CHAT_TEMPLATE
from preceptor.models.attention import prefer_plain_attention
from preceptor.models.kernels import available
from preceptor.models.layers import fuse_layers, is_fused

WORDS = ["<pad>", "<end>", "<unk>", "user", "assistant", ":", *"abcdefghijklmnopqrstuvwxyz"]
END, PAD = 1, 0


def tiny_model(kind: str = "llama", seed: int = 0) -> PreTrainedModel:
    """A model of a few thousand parameters: rotary, learned or grouped-query positions."""
    torch.manual_seed(seed)
    common = {"vocab_size": len(WORDS), "eos_token_id": END, "pad_token_id": PAD}
    if kind == "gpt2":
        config = GPT2Config(
            n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=END, **common
        )
        model: PreTrainedModel = GPT2LMHeadModel(config)
    else:
        heads = {"llama": (2, 2), "gqa": (4, 2)}[kind]
        model = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=heads[0],
                num_key_value_heads=heads[1],
                intermediate_size=32,
                head_dim=16,  # which the decoder knows
                max_position_embeddings=64,
                tie_word_embeddings=True,
                bos_token_id=None,
                **common,
            )
        )
    with torch.no_grad():  # initial weights are so small that every token is as likely as another
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    prefer_plain_attention(model)  # as every loaded model
    fuse_layers(model)
    return model.eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Letters are words; the pad differs from the end token; dialogues are plain text."""
    inner = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    )
    wrapped.chat_template = PLAIN_CHAT_TEMPLATE
    return wrapped


PIECES = [
    *WORDS[:6],
    "\n",
    "\n\n",
    ".",
    ".\n",
    "us",
    "er",
    "er:",
    "user:",
    "\nus",
    *"abcdefghijklmnopq",
]


def fused_tokenizer() -> PreTrainedTokenizerFast:
    """As many tokens, whose texts are strung together as they are: a newline may be inside one."""
    inner = Tokenizer(WordLevel({w: i for i, w in enumerate(PIECES)}, unk_token="<unk>"))
    inner.pre_tokenizer = Split(Regex(r"user|us|er|assistant|:|\n|."), behavior="isolated")
    inner.decoder = decoders.Fuse()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    )
    wrapped.chat_template = PLAIN_CHAT_TEMPLATE
    return wrapped


KINDS = {
    "llama": (LlamaForCausalLM, LlamaConfig),
    "mistral": (MistralForCausalLM, MistralConfig),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config),
}


def pair(
    kind: str = "llama", heads: tuple[int, int] = (4, 2), head_dim: int = 16, **options: int
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """One model twice: as transformers has it, and with fused layers."""
    cls, config = KINDS[kind]
    torch.manual_seed(0)
    plain = cls(
        config(
            vocab_size=32,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=heads[0],
            num_key_value_heads=heads[1],
            head_dim=head_dim,
            intermediate_size=96,
            pad_token_id=0,
            eos_token_id=END,
            **{"sliding_window": None, **options},
        )
    ).eval()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if parameter.dim() == 1:  # norms of one and biases of zero would hide what they do
                parameter.add_(0.3 * torch.randn(parameter.shape))
            elif "embed" not in name:
                parameter.mul_(5.0)
    fused = copy.deepcopy(plain)
    for model in (plain, fused):
        prefer_plain_attention(model)
    fuse_layers(fused)
    assert not available() or is_fused(fused.model.layers[0]) == (options == {})
    return plain, fused
