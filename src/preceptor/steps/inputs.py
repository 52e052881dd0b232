"""What the steps read: the starting model, the tokenizer, records as ids, tasks."""

import json
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from preceptor.config import Architecture, Recipe, TokenizerConfig
from preceptor.data.batching import (
    encode_demonstrations,
)
from preceptor.data.dataset import Choice
from preceptor.data.records import (
    Demonstration,
    Ranking,
    ranking_key,
    read_records,
)
from preceptor.evaluation.probes import ENGLISH, MINIATURE, PROBES, tamper
from preceptor.models.load import load_tokenizer, open_tokenizer
from preceptor.models.tokenizers import decode, encode_prompt, encode_response
from preceptor.randomness import python_random
from preceptor.stages.reward import RankedPrompt
from preceptor.training.progress import say

OWN_TOKENIZER = Path("data", "tokenizer")
MOST_PROBED = 400
"""Held-out demonstrations that are tampered with: shares are then known to 5 percent points."""


def base_model(recipe: Recipe, out: Path) -> Path | str:
    """The folder (or hub name) of the model that only continues text."""
    if isinstance(recipe.model, Architecture) or recipe.pretrain is not None:
        return out / "pretrain" / "model"
    return given_model(recipe)


def given_model(recipe: Recipe) -> Path | str:
    """The model that the recipe names; `smollm2` is imported from its package once."""
    assert isinstance(recipe.model, str)
    if recipe.model == "smollm2":
        from preceptor.models.gguf import smollm2_folder

        return smollm2_folder()
    return recipe.model


def tokenizer_of(recipe: Recipe, out: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that the whole run uses; the data step has left there one of its own."""
    if isinstance(recipe.model, str):
        return load_tokenizer(given_model(recipe), vocabulary_size=2**31)
    if isinstance(recipe.tokenizer, TokenizerConfig):
        return load_tokenizer(out / OWN_TOKENIZER, vocabulary_size=2**31)
    if recipe.tokenizer in (None, "miniature"):
        from preceptor.miniature.tokenizer import miniature_tokenizer

        return miniature_tokenizer()
    return open_tokenizer(recipe.tokenizer)


def demonstration_ids(
    recipe: Recipe, out: Path, tokenizer: PreTrainedTokenizerBase, part: str
) -> tuple[list[list[int]], list[list[int]]]:
    """Demonstrations as ids; the miniature, the packages and files all come this way."""
    path = out / "data" / f"demonstrations-{part}.jsonl"
    records = read_records(path, Demonstration)
    prompts, responses = encode_demonstrations(
        records,
        tokenizer,
        max_prompt_tokens=recipe.max_prompt_tokens,
        max_response_tokens=recipe.max_response_tokens,
        where=str(path),
    )
    if left_out := len(records) - len(prompts):
        say(
            f"demonstrations {part}: {left_out} of {len(records)} left out, longer than "
            f"max_prompt_tokens {recipe.max_prompt_tokens} or max_response_tokens "
            f"{recipe.max_response_tokens}"
        )
    return prompts, responses


def probe_ids(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, responses: Sequence[list[int]]
) -> dict[str, dict[int, list[int]]]:
    """The first `MOST_PROBED` responses tampered with, by probe and number; ids, with the end.

    A tampered response over max_response_tokens leaves its probe: cut to size it would show what
    the model thinks of unfinished responses, and the policy can write none of that length.
    """
    small = isinstance(recipe.model, Architecture) and recipe.tokenizer in (None, "miniature")
    own_words = recipe.demonstrations == "miniature" or small
    wording = MINIATURE if own_words else ENGLISH
    end = int(tokenizer.eos_token_id)
    found: dict[str, dict[int, list[int]]] = {name: {} for name in PROBES}
    for number, response in enumerate(responses[:MOST_PROBED]):
        draws = python_random(recipe.seed, "reward/probe", number)
        for name, text in tamper(decode(tokenizer, response), wording, draws).items():
            ids = encode_response(tokenizer, text) if text else [end]
            if len(ids) <= recipe.max_response_tokens and ids != response:
                found[name][number] = ids
    return found


def ranked_ids(
    recipe: Recipe, rankings: Sequence[Ranking], tokenizer: PreTrainedTokenizerBase
) -> dict[str, RankedPrompt]:
    """Rankings as ids, those of the same responses together.

    A response that did not end when it was sampled gets no end token.
    """
    limit = recipe.max_response_tokens
    found: dict[str, RankedPrompt] = {}
    for ranking in rankings:
        key = ranking_key(ranking)
        if key in found:  # another labeler's view of the same responses
            found[key].rankings.append(ranking.ranks)
            continue
        finished = ranking.meta.get("finished")
        if not isinstance(finished, list) or len(finished) != len(ranking.responses):
            finished = [True] * len(ranking.responses)  # a user's own file may mean something else
        responses = [encode_response(tokenizer, text) for text in ranking.responses]
        responses = [
            ids if ended else ids[:-1] or ids
            for ids, ended in zip(responses, finished, strict=True)
        ]
        # A user's own long response is cut like one that was sampled too long: no end token.
        responses = [ids[:limit] for ids in responses]
        prompt = encode_prompt(tokenizer, ranking.prompt)
        found[key] = RankedPrompt(prompt, responses, [ranking.ranks])
    return found


def read_rankings(homes: Sequence[Path], part: str) -> list[Ranking]:
    """The rankings of one part, by simulated labelers or the user's own, of all these rounds."""
    paths = [home / "data" / f"rankings-{part}.jsonl" for home in homes]
    return [ranking for path in paths for ranking in read_records(path, Ranking)]


def read_tasks(out: Path) -> dict[str, list[Choice]]:
    """The few-shot tasks of the run's pretraining distribution."""
    tasks = {}
    for path in sorted((out / "data").glob("task-*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        tasks[path.stem.removeprefix("task-")] = [Choice(**row) for row in rows]
    return tasks
