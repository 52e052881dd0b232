"""What a recipe names must be there, and be told all at once, before anything runs."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

from preceptor.config import Recipe, TokenizerConfig
from preceptor.data.records import differs_from_its_export
from preceptor.errors import RecipeError

EMBEDDED = ("miniature", "packages", "smollm2", "gpt2")


def require_files(recipe: Recipe) -> None:
    """Look that files, folders and functions of a recipe exist and that its lengths fit the model.

    Raises:
        RecipeError: a line for each that does not.
    """
    problems = [*_files(recipe), *_models(recipe), *_tokenizer(recipe), *_functions(recipe)]
    if problems:
        raise RecipeError("\n".join(f"{recipe.name}: {problem}" for problem in problems))


def model_context(folder: str) -> int | None:
    """The longest sequence of a model folder; None where its config.json does not tell."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        found = config.get("max_position_embeddings") or config.get("n_positions")
        return int(found) if found else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None  # loading it says what is wrong


def _files(recipe: Recipe) -> Iterator[str]:
    for key in ("corpus", "prompts", "demonstrations", "rankings"):
        path = getattr(recipe, key)
        if path is None or path in EMBEDDED:
            continue
        if library := _library_missing_for(path):
            name, extra = library
            yield f"{key} is {path}: it is read by {name}. pip install 'preceptor[{extra}]'"
        if path.startswith("hf:"):
            continue
        if not Path(path).exists():
            yield f"{key} is {path}: no such file. Paths are taken from the working folder."
        elif key == "corpus" and (Path(path) / "corpus.json").is_file():
            if isinstance(recipe.tokenizer, TokenizerConfig):
                yield (
                    f"corpus is {path}: it is tokenized already, and tokenizer would train another "
                    "one. Name the folder of the tokenizer that it was built with."
                )
        elif not Path(path).is_file():
            told = " or a corpus that is built to its end" if key == "corpus" else ""
            yield f"{key} is {path}: a folder. It must be one file{told}."
        elif differs_from_its_export(Path(path)):
            yield (
                f"{key} is {path}: not the file that was exported; its sha256 is not the one in "
                "its name. Export it again. If you changed it on purpose, give it another name."
            )


def _library_missing_for(path: str) -> tuple[str, str] | None:
    """The library that reads this, with its extra, where it is not installed."""
    if path.startswith("hf:"):
        needed = ("datasets", "hub")
    elif ".parquet" in Path(path).suffixes:
        needed = ("pyarrow", "parquet")
    else:
        return None
    return needed if importlib.util.find_spec(needed[0]) is None else None


def _models(recipe: Recipe) -> Iterator[str]:
    named = {"model": recipe.model, "sft.reward_model": recipe.sft.reward_model}
    if recipe.ppo_start is not None:
        named["ppo_start.reward_model"] = recipe.ppo_start.reward_model
    for key, path in named.items():
        if not isinstance(path, str) or path in EMBEDDED:
            continue
        # What is not clearly a path may still be a name on a model hub.
        is_path = path.startswith((".", "/", "~")) or path.count("/") > 1
        if not Path(path).exists() and (is_path or key != "model"):
            yield f"{key} is {path}: no such folder. A model is a folder with config.json."
        elif Path(path).exists() and not (Path(path) / "config.json").is_file():
            yield f"{key} is {path}: not a model folder, config.json is missing."
    if isinstance(recipe.model, str) and (context := model_context(recipe.model)):
        needed = recipe.max_prompt_tokens + recipe.max_response_tokens
        if recipe.demonstrations is not None and needed > context:
            yield (
                f"max_prompt_tokens {recipe.max_prompt_tokens} + max_response_tokens "
                f"{recipe.max_response_tokens} is over the model's context of {context}. "
                "Lower one of them."
            )
        for key, length in _sequence_lengths(recipe).items():
            if length > context:
                yield f"{key} {length} is over the model's context of {context}. Lower it."


def _tokenizer(recipe: Recipe) -> Iterator[str]:
    """What is not clearly a path may still be a name on a model hub."""
    path = recipe.tokenizer
    if not isinstance(path, str) or path in EMBEDDED:
        return
    if not Path(path).exists() and (path.startswith((".", "/", "~")) or path.count("/") > 1):
        yield f"tokenizer is {path}: no such folder. `preceptor data tokenizer` makes one."
    elif Path(path).exists() and not (Path(path) / "tokenizer.json").is_file():
        yield f"tokenizer is {path}: no tokenizer's folder, tokenizer.json is missing."


def _sequence_lengths(recipe: Recipe) -> dict[str, int]:
    """Lengths of packed text by key, where the recipe uses them."""
    found = {}
    if recipe.pretrain is not None:
        found["pretrain.sequence_length"] = recipe.pretrain.sequence_length
    for name, stage in recipe.ptx_stages().items():
        found[f"{name}.ptx_sequence_length"] = stage.ptx_sequence_length
    return found


def _functions(recipe: Recipe) -> Iterator[str]:
    """A user's reward function by its module only; running the module is for the run."""
    stages = [stage for stage in (recipe.ppo, recipe.ppo_ptx) if stage is not None]
    rewards = {stage.reward for stage in stages if not stage.is_service}
    for reward in sorted(rewards - {"reward_model"}):
        module = reward.partition(":")[0]
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            found = None
        if found is None:
            yield (
                f"ppo.reward is {reward}: no module {module} in the working folder or the "
                "environment."
            )
