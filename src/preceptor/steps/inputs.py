"""What the steps read: the starting model, the tokenizer, records as ids, tasks."""

import json
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from preceptor.config import Architecture, Recipe, TokenizerConfig
from preceptor.data.batching import encode_demonstrations
from preceptor.data.dataset import Choice
from preceptor.data.hashes import hashes, numbered
from preceptor.data.records import Demonstration, Prompt, Ranking, ranking_key
from preceptor.data.stored import Chosen, Lazy, Numbers, open_records, store_ids, store_records
from preceptor.evaluation.probes import ENGLISH, MINIATURE, PROBES, tamper
from preceptor.models.load import load_tokenizer, open_tokenizer
from preceptor.models.tokenizers import (
    decode,
    encode_prompts,
    encode_response,
    encode_responses,
)
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


def prompts_with_ids(
    out: Path, part: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[Sequence[Prompt], Sequence[list[int]]]:
    """Prompts of the run and their ids; both stay on disk, and a batch is read when it is due."""
    folder = out / "data"
    prompts = open_records(folder / f"prompts-{part}.jsonl", Prompt)
    return prompts, store_ids(encode_prompts(tokenizer, (p.prompt for p in prompts)), folder)


def demonstration_ids(
    recipe: Recipe, out: Path, tokenizer: PreTrainedTokenizerBase, part: str
) -> tuple[Sequence[list[int]], Sequence[list[int]]]:
    """Demonstrations as ids; the miniature, the packages and files all come this way."""
    path = out / "data" / f"demonstrations-{part}.jsonl"
    records = open_records(path, Demonstration)
    prompts, responses = encode_demonstrations(
        records,
        tokenizer,
        max_prompt_tokens=recipe.max_prompt_tokens,
        max_response_tokens=recipe.max_response_tokens,
        where=str(path),
        scratch=path.parent,
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
    recipe: Recipe,
    rankings: Sequence[Ranking],
    tokenizer: PreTrainedTokenizerBase,
    scratch: Path | None = None,
) -> tuple[Sequence[RankedPrompt], Numbers]:
    """Rankings as ids, those of the same responses together; and the prompt's number of each [R].

    A response that did not end when it was sampled gets no end token. The ids wait on disk, in the
    folder `scratch`, for whoever asks for them.
    """
    # Another labeler's view of the same responses goes to those who came first.
    prompt_of, first = numbered(hashes(ranking_key(ranking) for ranking in rankings))
    asked = Chosen(rankings, first)
    counts = array("q")
    rows = store_ids(_rows(recipe, asked, tokenizer, counts), scratch)
    row_starts = _starts(counts)
    ranks = store_ids((ranking.ranks for ranking in rankings), scratch)
    together = Chosen(ranks, np.argsort(prompt_of, kind="stable"))  # those of one prompt
    rank_starts = _starts(np.bincount(prompt_of, minlength=len(asked)))

    def item(number: int) -> RankedPrompt:
        prompt, *responses = rows[slice(*row_starts[number : number + 2])]
        own = together[slice(*rank_starts[number : number + 2])]
        return RankedPrompt(prompt, responses, list(own))

    return Lazy(len(asked), item), prompt_of


def _rows(
    recipe: Recipe,
    asked: Sequence[Ranking],
    tokenizer: PreTrainedTokenizerBase,
    counts: "array[int]",
) -> Iterator[list[int]]:
    """Ids of each prompt and then of its responses; `counts` gets how many rows they were."""
    prompts = encode_prompts(tokenizer, (ranking.prompt for ranking in asked))
    responses = encode_responses(tokenizer, (text for r in asked for text in r.responses))
    for ranking, prompt in zip(asked, prompts, strict=True):
        counts.append(1 + len(ranking.responses))
        yield prompt
        for ended in are_finished(ranking):
            ids = next(responses)
            # A user's own long response is cut like one that was sampled too long: no end token.
            yield (ids if ended else ids[:-1] or ids)[: recipe.max_response_tokens]


def _starts(counts: npt.ArrayLike) -> Numbers:
    """Where each of so many things begins, and at last where all end."""
    return np.append(0, np.cumsum(counts, dtype=np.int64))


def are_finished(ranking: Ranking) -> list[bool]:
    """Which of its responses ended by themselves; all, where it does not tell of each."""
    finished = ranking.meta.get("finished")
    if not isinstance(finished, list) or len(finished) != len(ranking.responses):
        return [True] * len(ranking.responses)  # a user's own file may mean something else
    return finished


def read_rankings(homes: Sequence[Path], part: str) -> Sequence[Ranking]:
    """The rankings of one part, by simulated labelers or the user's own, of all these rounds."""
    paths = [home / "data" / f"rankings-{part}.jsonl" for home in homes]
    found = [open_records(path, Ranking) for path in paths]
    if len(found) == 1:
        return found[0]
    return store_records(chain(*found), Ranking, paths[-1].parent)


def read_tasks(out: Path) -> dict[str, list[Choice]]:
    """The few-shot tasks of the run's pretraining distribution."""
    tasks = {}
    for path in sorted((out / "data").glob("task-*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        tasks[path.stem.removeprefix("task-")] = [Choice(**row) for row in rows]
    return tasks
