"""Models as ordinary Hugging Face folders: config.json, model.safetensors, tokenizer files."""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from preceptor.config import Architecture, LoRAConfig
from preceptor.errors import DataError
from preceptor.models.attention import prefer_plain_attention
from preceptor.models.halves import Halved, settle
from preceptor.models.layers import fuse_layers
from preceptor.models.lora import adapters_off, add_adapters, merged_state
from preceptor.models.precision import is_bf16, precision
from preceptor.models.tokenizers import check_tokenizer, prepare_tokenizer
from preceptor.models.vocabulary import embedded, finish_of, head_logits

_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises for a folder that is no model, depending on what is wrong with it."""

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def new_policy(
    architecture: Architecture, tokenizer: PreTrainedTokenizerBase, seed: int
) -> PreTrainedModel:
    """A Llama-shaped model with random weights: normal, std 0.7 / sqrt(width), residuals scaled.

    GPT-2's 0.02 is about that at its width of 1,600. At a width of 128 it starts so flat that
    copying a name from the question is learned twice as late (docs/log.md).
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden_size,
        num_hidden_layers=architecture.num_layers,
        num_attention_heads=architecture.num_heads,
        num_key_value_heads=architecture.num_kv_heads,
        intermediate_size=architecture.intermediate_size,
        max_position_embeddings=architecture.context_length,
        rope_parameters={"rope_type": "default", "rope_theta": architecture.rope_theta},
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    prefer_plain_attention(model)
    fuse_layers(model)
    generator = torch.Generator().manual_seed(seed)
    std = 0.7 / math.sqrt(architecture.hidden_size)
    scaled = std / math.sqrt(2 * architecture.num_layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                parameter.normal_(0.0, scaled if residual else std, generator=generator)
    return model


def load_policy(
    path: str | Path, halved: Halved = "nothing"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal LM and its tokenizer, dropout off, pad and template in order.

    Weights are fp32 but for those that are to be frozen and `halved`, which never are.

    Raises:
        DataError: the folder is not one of a causal language model, or its ends are not known.
    """
    _require_folder(path)
    model = _open(AutoModelForCausalLM, path, halved)
    embedding = cast(nn.Embedding, model.get_input_embeddings())
    tokenizer = load_tokenizer(path, embedding.num_embeddings)
    model.config.pad_token_id = tokenizer.pad_token_id
    used = 1 + max(tokenizer.get_vocab().values())  # over len(tokenizer) where ids have holes
    if used < embedding.num_embeddings:  # rows that pad the vocabulary: never sampled
        model.config.num_known_tokens = used
    elif hasattr(model.config, "num_known_tokens"):  # of an earlier, smaller tokenizer
        del model.config.num_known_tokens
    model.eval()
    _require_known_ends(model, path)
    return model, tokenizer


def load_frozen_policy(
    path: str | Path, dtype: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A policy that only samples or is scored, in the precision of the stage it is of."""
    model, tokenizer = load_policy(path, "blocks" if is_bf16(dtype) else "nothing")
    return model.requires_grad_(False), tokenizer


def load_frozen_scalar(path: str | Path, dtype: str) -> PreTrainedModel:
    """A reward model that only scores, in the precision of the stage it is of."""
    return load_scalar(path, "blocks" if is_bf16(dtype) else "nothing").requires_grad_(False)


def halved_base(lora: LoRAConfig | None, dtype: str) -> Halved:
    """Of a model in training: with adapters all its own weights are frozen, and may be bf16."""
    return "all" if lora is not None and is_bf16(dtype) else "nothing"


def load_tokenizer(path: str | Path, vocabulary_size: int) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, with what all stages need of it.

    A folder may hold a tokenizer alone.
    """
    if not (Path(path) / "tokenizer.json").is_file():
        _require_folder(path)
    try:
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(path))
    except _UNREADABLE as error:
        where = "" if Path(path).is_dir() else "no such folder, and as a hub name: "
        raise DataError(
            f"{path}: {where}no tokenizer can be read from it ({_first(error)})."
        ) from None
    prepare_tokenizer(tokenizer, vocabulary_size)
    check_tokenizer(tokenizer, str(path))
    return tokenizer


def open_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub name, of `smollm2`, or `gpt2` out of its package."""
    if name == "gpt2":
        from preceptor.models.gpt2_tokenizer import gpt2_tokenizer

        return gpt2_tokenizer()
    if name == "smollm2":
        from preceptor.models.gguf import smollm2_folder

        name = smollm2_folder()
    return load_tokenizer(name, vocabulary_size=2**31)


def scalar_from_policy(
    path: str | Path, seed: int | None, halved: Halved = "nothing"
) -> PreTrainedModel:
    """A policy's trunk with a new scalar head: weights of std 1/sqrt(D + 1), bias 0.

    Without a seed the head is all zeros, as Ziegler et al.'s code has it for a fresh value model.

    InstructGPT appendix C: the unembedding is replaced by a projection to one number. The head's
    scale is Stiennon et al.'s code (their paper prints the variance).
    """
    model = _open(AutoModelForSequenceClassification, path, halved, num_labels=1)
    width = scalar_head(model).in_features
    head = nn.Linear(width, 1)
    with torch.no_grad():
        if seed is None:
            head.weight.zero_()
        else:
            generator = torch.Generator().manual_seed(seed)
            head.weight.normal_(0.0, 1 / math.sqrt(width + 1), generator=generator)
        head.bias.zero_()
    _set_scalar_head(model, head)
    model.eval()
    return model


def load_scalar(path: str | Path, halved: Halved = "nothing") -> PreTrainedModel:
    """A reward or value model; its head's bias, which most architectures lack, is kept."""
    _require_folder(path)
    model = _open(AutoModelForSequenceClassification, path, halved, num_labels=1)
    with safe_open(Path(path) / "model.safetensors", framework="pt") as file:
        head = nn.Linear(scalar_head(model).in_features, 1)
        name = _head_name(model)
        if f"{name}.bias" not in file.keys():  # noqa: SIM118 - safe_open is no mapping
            raise DataError(f"{path}: the scalar head has no bias. Save it with save_model.")
        with torch.no_grad():
            head.weight.copy_(file.get_tensor(f"{name}.weight"))
            head.bias.copy_(file.get_tensor(f"{name}.bias"))
    _set_scalar_head(model, head)
    model.eval()
    return model


def with_lora(model: PreTrainedModel, config: LoRAConfig | None, seed: int) -> PreTrainedModel:
    """The model ready for training: all weights, or adapters (and a scalar head) only."""
    if config is None:
        return model
    add_adapters(model, config, seed)
    if hasattr(model.config, "num_labels") and _has_head(model):
        scalar_head(model).requires_grad_(True)
    return model


@contextmanager
def before_training(model: PreTrainedModel, head: nn.Linear) -> Iterator[None]:
    """Within it a scalar model scores as before its training: adapters off, and this head.

    So a value model that began as the reward model stands for both, without a second copy.
    """
    trained = scalar_head(model)
    _set_scalar_head(model, head)
    try:
        with adapters_off(model):
            yield
    finally:
        _set_scalar_head(model, trained)


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    state: dict[str, Tensor] | None = None,
) -> None:
    """Write an ordinary model folder, whole or not at all; adapters are merged into the weights."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial, state_dict=cast(Any, merged_state(model, state)))
    # transformers has written the precision of the first weight in memory, not of what is saved.
    config = json.loads((partial / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(config | {"dtype": "float32"}, indent=2, sort_keys=True) + "\n"
    (partial / "config.json").write_text(text, encoding="utf-8")
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def trunk(model: PreTrainedModel) -> nn.Module:
    """The transformer without its head: ids in, hidden states out."""
    return cast(nn.Module, getattr(model, model.base_model_prefix))


def scalar_head(model: PreTrainedModel) -> nn.Linear:
    """The projection to one number of a reward or value model."""
    return cast(nn.Linear, getattr(model, _head_name(model)))


def context_length(model: PreTrainedModel) -> int:
    """Longest sequence the model was made for."""
    config: Any = model.config
    found = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return int(found or 2048)


def _has_head(model: PreTrainedModel) -> bool:
    return hasattr(model, "score") or hasattr(model, "classifier")


def _head_name(model: PreTrainedModel) -> str:
    if not _has_head(model):
        raise DataError(f"{type(model).__name__} has no scalar head named score or classifier.")
    return "score" if hasattr(model, "score") else "classifier"


def _set_scalar_head(model: PreTrainedModel, head: nn.Linear) -> None:
    setattr(model, _head_name(model), head)


def _open(kind: Any, path: str | Path, halved: Halved, **options: Any) -> PreTrainedModel:
    """A model whose every weight was in the folder; only a scalar head may be new."""
    options |= {"use_safetensors": True, "output_loading_info": True}
    try:
        # In the file's own precision nothing is read yet; in another it is all converted at once.
        stored = _stored_precision(Path(path))
        model, found = kind.from_pretrained(path, dtype=stored, **options)
        if any(b.is_floating_point() and b.dtype != torch.float32 for b in model.buffers()):
            # Constants that an architecture computes in the precision it is loaded in.
            model, found = kind.from_pretrained(path, dtype=torch.float32, **options)
    except _UNREADABLE as error:
        raise DataError(
            f"{path}: not a model folder that can be read ({_first(error)}). It needs config.json, "
            "model.safetensors and the tokenizer's files."
        ) from None
    heads = ("score.", "classifier.") if "num_labels" in options else ()
    missing = sorted(name for name in found["missing_keys"] if not name.startswith(heads))
    if missing:
        raise DataError(
            f"{path}: its weights lack {missing[0]} and {len(missing) - 1} more, which would be "
            "random. The weights must belong to the config.json beside them."
        )
    settle(model, halved)
    model.config.dtype = torch.float32
    prefer_plain_attention(model)
    fuse_layers(model)
    return cast(PreTrainedModel, model)


def _stored_precision(folder: Path) -> torch.dtype:
    """bf16 if all weights in the folder are, else fp32, which holds them too."""
    kinds = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            kinds |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    return torch.bfloat16 if kinds == {"BF16"} else torch.float32


@torch.no_grad()
def _require_known_ends(model: PreTrainedModel, path: str | Path) -> None:
    """Refuse an architecture that does more at its ends than `embedded` and `head_logits` know.

    A few tokens go its own way and ours. States a hundred times as large show a bound of logits.
    """
    ids = torch.arange(4)[None]
    seen: list[Tensor] = []

    def also_large(_: nn.Module, __: Any, output: Any) -> Any:
        states = output.last_hidden_state
        output.last_hidden_state = torch.cat([states, 100 * states])
        seen.append(output.last_hidden_state)
        return output

    halved = any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
    with precision("bf16" if halved else "fp32"):
        with_head = trunk(model).register_forward_hook(also_large)
        logits = model(input_ids=ids, use_cache=False).logits
        with_head.remove()
        states = trunk(model)(inputs_embeds=embedded(model, ids), use_cache=False).last_hidden_state
        found = head_logits(model, seen[0])
    known = finish_of(model).num_tokens
    pairs = [(states[0], seen[0][0]), *zip(found[..., :known], logits[..., :known], strict=True)]
    # Another rounding of bf16 weights is no other number; a factor or a bound is.
    if any((ours - theirs).norm() > 0.1 * theirs.norm() for ours, theirs in pairs):
        keys = [key for key in model.config.to_dict() if "logit" in key or "lm_head" in key]
        raise DataError(
            f"{path}: {type(model).__name__} makes more of its embedding, or of its head's product "
            "with the last states, than is known here, and would be trained on wrong numbers. Its "
            f"config.json says {', '.join(keys) or 'nothing'} of it. Use another architecture."
        )


def _require_folder(path: str | Path) -> None:
    """A local path must hold a model; what is no path may still be a name on a hub."""
    folder = Path(path)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise DataError(f"{path}: not a model folder, config.json is missing.")
    if folder.is_file():
        raise DataError(f"{path}: a file. A model is a folder with config.json and safetensors.")
    if folder.is_dir():
        try:
            json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except ValueError:
            raise DataError(f"{path}/config.json: not JSON, so this is not a model.") from None
    if not folder.exists() and (str(path).startswith((".", "/", "~")) or str(path).count("/") > 1):
        raise DataError(f"{path}: no such folder. A model is a folder with config.json.")


def _first(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:160]
