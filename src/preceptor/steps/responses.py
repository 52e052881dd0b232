"""Responses of a run's models for people to judge (InstructGPT section 3.4)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preceptor.config import Recipe
from preceptor.data.hashes import prompt_keys
from preceptor.data.records import Messages, file_hash
from preceptor.generation import row_uniforms, sample, stop_strings
from preceptor.models.gguf import smollm2_folder
from preceptor.models.load import load_frozen_policy
from preceptor.models.precision import precision
from preceptor.models.tokenizers import encode_prompt, text_of_ids, turn_ends
from preceptor.training.progress import say


@dataclass(frozen=True)
class Sampled:
    """One response, and what it was drawn with."""

    text: str
    model: str
    finished: bool
    sampling: dict[str, Any]


def responses_of_models(
    recipe: Recipe,
    models: Mapping[str, Path | str],
    prompts: Sequence[str | Messages],
    *,
    num_responses: int,
    temperature: float,
    seed: int,
) -> list[list[Sampled]]:
    """K responses a prompt, the models taking turns; none to a prompt that is too long.

    Responses are as long as the recipe allows, and drawn as the run's own for rankings are: no
    top-k, top-p or penalties.
    """
    found: list[list[Sampled]] = [[] for _ in prompts]
    for place, (name, path) in enumerate(models.items()):
        own = range(place, num_responses, len(models))
        if own:
            drawn = _responses(recipe, name, path, prompts, own, temperature, seed)
            for responses, new in zip(found, drawn, strict=True):
                responses += new
    return found


def weights_hash(path: Path | str) -> str:
    """The sha256 of a model folder's weights; empty for a model that lies elsewhere."""
    files = sorted(Path(path).glob("*.safetensors"))
    if len(files) == 1:
        return file_hash(files[0])
    together = " ".join(file_hash(file) for file in files)
    return hashlib.sha256(together.encode()).hexdigest() if files else ""


def _responses(
    recipe: Recipe,
    name: str,
    path: Path | str,
    prompts: Sequence[str | Messages],
    numbers: range,
    temperature: float,
    seed: int,
) -> list[list[Sampled]]:
    folder = smollm2_folder() if path == "smollm2" else path
    policy, tokenizer = load_frozen_policy(folder, recipe.sft.precision)
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    fitting = [i for i, ids in enumerate(encoded) if len(ids) <= recipe.max_prompt_tokens]
    if left_out := len(prompts) - len(fitting):
        say(
            f"{name}: {left_out} of {len(prompts)} prompts left out, longer than max_prompt_tokens "
            f"{recipe.max_prompt_tokens}"
        )
    if not fitting:
        return [[] for _ in prompts]
    places = [(i, number) for i in fitting for number in numbers]
    own = prompt_keys(prompts).tolist()
    keys = [(*own[i], number) for i, number in places]
    say(f"{name}: {len(keys):,} responses to {len(fitting):,} prompts")
    stops = stop_strings(tokenizer, turn_ends(tokenizer, continues_text=name == "gpt"))
    uniforms = row_uniforms(seed, f"label/{name}", keys, recipe.max_response_tokens)
    with precision(recipe.sft.precision):
        generated = sample(
            policy,
            [encoded[i] for i, _ in places],
            uniforms,
            stop_ids=[int(tokenizer.eos_token_id)],
            stops=stops,
            temperature=temperature,
            spare_memory=recipe.sft.spare_memory,
        )
    found: list[list[Sampled]] = [[] for _ in prompts]
    for (i, number), ids, ended in zip(
        places, generated.responses, generated.finished, strict=True
    ):
        settings = {
            "temperature": temperature,
            "max_tokens": recipe.max_response_tokens,
            "seed": seed,
            "number": number,
        }
        text = stops.cut(text_of_ids(tokenizer, ids)).strip()
        found[i].append(Sampled(text, name, ended, settings))
    return found
