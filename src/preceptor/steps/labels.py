"""The steps before and between the training: data, sampled responses, rankings."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.config import Recipe, TokenizerConfig
from preceptor.data.batching import fit_prompts, pack_documents
from preceptor.data.dataset import Dataset, Judge, Judgement
from preceptor.data.hashes import prompt_keys
from preceptor.data.records import (
    Prompt,
    Ranking,
    write_records,
    write_text,
)
from preceptor.data.shard_checks import require_undamaged
from preceptor.data.shards import is_built, read_card
from preceptor.data.sources import GENERATED, assemble
from preceptor.data.stored import open_records
from preceptor.errors import DataError
from preceptor.evaluation.judges import judge_of, labelers_of
from preceptor.evaluation.labelers import Labeler, rank_responses, stream_of_look, texts_of
from preceptor.generation import row_uniforms, sample
from preceptor.models.load import load_frozen_policy
from preceptor.models.precision import precision
from preceptor.models.tokenizers import decode, encode_prompts, fingerprint, train_tokenizer
from preceptor.randomness import numpy_generator
from preceptor.recipes.rounds import home_of, policy_of, round_of, step_name
from preceptor.steps.inputs import OWN_TOKENIZER, tokenizer_of
from preceptor.training.progress import say

TOKENS_AT_ONCE = 2**22
"""So many are sampled together, were all responses as many and as long as may be, then written."""
PARTS: tuple[Literal["train", "valid"], ...] = ("train", "valid")
"""Of every set of records."""


def make_data(recipe: Recipe, out: Path) -> list[Path]:
    """Write every set of records, the packed text, the tasks and the attribution."""
    folder = out / "data"
    if isinstance(recipe.tokenizer, TokenizerConfig):
        if is_built(recipe.corpus):
            raise DataError(
                f"{recipe.corpus} is tokenized already, so no tokenizer can be trained on it. "
                "Set tokenizer: to the folder of the one that it was built with."
            )
    else:
        tokenizer = tokenizer_of(recipe, out)  # what is none is told before anything is read
    folder.mkdir(parents=True, exist_ok=True)
    dataset = assemble(recipe, folder)
    for note in dataset.notes:
        say(f"data: {note}")
    if asks_for_demonstrations(recipe):
        dataset = _with_demonstrations_of_labelers(recipe, out, dataset)
    corpus = {"train": dataset.corpus_train, "valid": dataset.corpus_valid}
    sets: dict[str, Sequence[Any]] = {
        "demonstrations-train": dataset.demonstrations_train,
        "demonstrations-valid": dataset.demonstrations_valid,
        "prompts-reward-train": dataset.prompts_reward_train,
        "prompts-reward-valid": dataset.prompts_reward_valid,
        "prompts-ppo": dataset.prompts_ppo,
        "prompts-valid": dataset.prompts_valid,
        "prompts-test": dataset.prompts_test,
    }
    if recipe.rankings:
        sets |= {"rankings-train": dataset.rankings_train, "rankings-valid": dataset.rankings_valid}
    # What another recipe has left would be read as if it were this one's.
    for pattern in ("corpus-*", "tokens-*", "task-*", *(f"{name}.jsonl" for name in sets)):
        for old in folder.glob(pattern):
            old.unlink()
    shutil.rmtree(out / OWN_TOKENIZER, ignore_errors=True)
    written = []
    if isinstance(recipe.tokenizer, TokenizerConfig):
        texts = (document.text for document in dataset.corpus_train)
        own = train_tokenizer(texts, recipe.tokenizer.vocabulary_size)
        say(f"data: a tokenizer of {len(own):,} tokens, trained on the corpus")
        own.save_pretrained(out / OWN_TOKENIZER)
        written += sorted((out / OWN_TOKENIZER).iterdir())
        tokenizer = tokenizer_of(recipe, out)
    for name, records in sets.items():
        if name.startswith(("prompts", "rankings")):
            records = fit_prompts(records, tokenizer, recipe.max_prompt_tokens, name)
            left_out = len(sets[name]) - len(records)
            if left_out:
                say(
                    f"data: {left_out} of {len(sets[name])} {name} left out, longer than "
                    f"max_prompt_tokens {recipe.max_prompt_tokens}"
                )
        if name.startswith("prompts-reward") and recipe.demonstrations and not recipe.rankings:
            require_prompts(recipe, len(records), name)
        if records:
            write_records(folder / f"{name}.jsonl", records)
            written.append(folder / f"{name}.jsonl")
    if recipe.corpus is not None and is_built(recipe.corpus):
        written += name_corpus(recipe.corpus, tokenizer, folder)
    for part, documents in corpus.items():
        if len(documents):
            write_records(folder / f"corpus-{part}.jsonl", documents)
            pack_documents(documents, tokenizer, folder / f"tokens-{part}.npy")
            written += [folder / f"corpus-{part}.jsonl", folder / f"tokens-{part}.npy"]
    for task, items in dataset.tasks.items():
        path = folder / f"task-{task}.jsonl"
        write_records(path, items)
        written.append(path)
    if dataset.attribution:
        path = folder / "ATTRIBUTION.md"
        path.write_text(dataset.attribution, encoding="utf-8")
        written.append(path)
    return written


def name_corpus(corpus: str, tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[Path]:
    """Small files that name the shards of a built corpus; they are read where they are.

    Raises:
        DataError: the corpus was tokenized by another tokenizer, or a shard is damaged.
    """
    card = read_card(corpus)
    if card["tokenizer"]["sha256"] != fingerprint(tokenizer):
        raise DataError(
            f"{corpus}: tokenized with {card['tokenizer']['name']}, and this run's model reads "
            "other ids. Build the corpus with the model's own tokenizer."
        )
    require_undamaged(corpus, say)  # a turned byte would be trained on as another word
    written = []
    for part in PARTS:
        path = folder / f"tokens-{part}.json"
        named = {"corpus": corpus, "part": part, "sha256": card["sha256"]}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(named) + "\n")
        written.append(path)
    return written


def asks_for_demonstrations(recipe: Recipe) -> bool:
    """Those of a file are people's work already; those that are generated are asked for."""
    return recipe.labels != "simulated" and recipe.demonstrations in GENERATED


def _with_demonstrations_of_labelers(recipe: Recipe, out: Path, dataset: Dataset) -> Dataset:
    from preceptor.steps.asked import demonstrations_from_store  # needs the app, an extra

    found = demonstrations_from_store(
        recipe,
        out,
        {"train": dataset.demonstrations_train, "valid": dataset.demonstrations_valid},
    )
    return replace(
        dataset, demonstrations_train=found["train"], demonstrations_valid=found["valid"]
    )


def require_prompts(recipe: Recipe, count: int, name: str) -> None:
    """Every round ranks responses to prompts of its own, so there must be one for each.

    Raises:
        DataError: there are fewer.
    """
    if count < recipe.rounds:
        raise DataError(
            f"{name}: {count} prompts for rounds: {recipe.rounds}, and each round needs its own. "
            "Ask for fewer rounds, or give more prompts."
        )


def sample_responses(recipe: Recipe, out: Path, step: str = "sample") -> list[Path]:
    """K = 4..9 responses to every prompt of this round that labelers will rank (section 3.4).

    They are of `sft` in the first round, and of the policy of the round before in later ones.
    """
    number = round_of(recipe, step)
    source, place = "sft", "sft"
    if number > 1:
        kind = policy_of(recipe)
        assert kind is not None  # the recipe is refused without one
        place = step_name(recipe, number - 1, kind)
        source = f"{kind}, round {number - 1}"
    policy, tokenizer = load_frozen_policy(out / place / "model", recipe.sft.precision)
    stream = stream_of(recipe, step)
    written = []
    for part in PARTS:
        given = open_records(out / "data" / f"prompts-reward-{part}.jsonl", Prompt)
        prompts = given[number - 1 :: recipe.rounds]
        purpose = f"{stream}sample/{part}"
        keys = prompt_keys(p.prompt for p in prompts)
        counts = numbers_of_responses(recipe, purpose, keys)
        say(f"sample {part}: {counts.sum():,} responses of {source} to {len(prompts):,} prompts")
        path = home_of(out, step) / "data" / f"responses-{part}.jsonl"
        most = recipe.sample.max_responses * recipe.max_response_tokens
        at_once = max(1, TOKENS_AT_ONCE // most)
        rows = (
            row
            for start in range(0, len(prompts), at_once)
            for row in answered(
                recipe,
                policy,
                tokenizer,
                prompts[start : start + at_once],
                keys[start : start + at_once].tolist(),
                counts[start : start + at_once].tolist(),
                purpose=purpose,
                source=source,
            )
        )
        write_records(path, rows)
        written.append(path)
    return written


def numbers_of_responses(
    recipe: Recipe, purpose: str, keys: npt.NDArray[np.void]
) -> npt.NDArray[np.int8]:
    """How many responses each prompt gets, drawn by its own key [N]."""
    low, high = recipe.sample.min_responses, recipe.sample.max_responses
    drawn = (
        numpy_generator(recipe.seed, f"{purpose}/k", *key.item()).integers(low, high + 1)
        for key in keys
    )
    return np.fromiter(drawn, dtype=np.int8, count=len(keys))


def answered(
    recipe: Recipe,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    keys: Sequence[tuple[int, int]],
    counts: Sequence[int],
    *,
    purpose: str,
    source: str,
) -> list[dict[str, Any]]:
    """Rows of these prompts with so many sampled responses each, all sampled together."""
    encoded = list(encode_prompts(tokenizer, (p.prompt for p in prompts)))
    places = [(i, k) for i, count in enumerate(counts) for k in range(count)]
    uniforms = row_uniforms(
        recipe.seed, purpose, [(*keys[i], k) for i, k in places], recipe.max_response_tokens
    )
    with precision(recipe.sft.precision):
        generated = sample(
            policy,
            [encoded[i] for i, _ in places],
            uniforms,
            stop_ids=[int(tokenizer.eos_token_id)],
            temperature=recipe.sample.temperature,
            spare_memory=recipe.sft.spare_memory,
        )
    texts = [decode(tokenizer, tokens) for tokens in generated.responses]
    rows: list[dict[str, Any]] = [
        asdict(prompt) | {"responses": [], "finished": [], "sources": []} for prompt in prompts
    ]
    for (i, _), text, finished in zip(places, texts, generated.finished, strict=True):
        rows[i]["responses"].append(text)
        rows[i]["finished"].append(finished)
        rows[i]["sources"].append(source)
    return rows


def rank(recipe: Recipe, out: Path, step: str = "rank") -> list[Path]:
    """Simulated labelers rank the responses: one a training prompt, several a held-out one.

    Nobody is asked about responses that are all equal.
    """
    judge = judge_of(recipe)
    folder = home_of(out, step) / "data"
    written = []
    for part in PARTS:
        members = team(recipe, part)
        rows = open_records(folder / f"responses-{part}.jsonl", Prompt)
        chosen = turns(recipe, step, part, len(rows))
        rankings = (
            ranking
            for row, places in zip(rows, chosen, strict=True)
            for ranking in ranked(recipe, judge, row, [members[place] for place in places])
        )
        path = folder / f"rankings-{part}.jsonl"
        write_records(path, rankings)
        with path.open("rb") as file:
            num_rankings = sum(1 for _ in file)
        say(f"rank {part}: {num_rankings:,} rankings by {len(members)} labelers")
        written.append(path)
    return written


def ranked(
    recipe: Recipe, judge: Judge, row: Prompt, labelers: Sequence[Labeler]
) -> Iterator[Ranking]:
    """Each of these labelers' ranking of a row's responses; none where they are all equal."""
    meta = dict(row.meta)
    responses = meta.pop("responses")
    if len(texts_of(responses)) < 2:
        return
    prompt = Prompt(row.prompt, row.user, row.use_case, meta)
    seen = judging_once(judge)
    for labeler in labelers:
        draws = stream_of_look(recipe.seed, labeler.name, prompt, responses)
        ranks = rank_responses(labeler, prompt, responses, seen, draws)
        yield Ranking(row.prompt, responses, ranks, labeler.name, row.user, row.use_case, meta)


def team(recipe: Recipe, part: str) -> list[Labeler]:
    """The labelers of the training prompts, or those who are held out for the validation ones."""
    if part == "valid":
        return labelers_of(recipe, recipe.rank.num_heldout_labelers, "heldout")
    return labelers_of(recipe, recipe.rank.num_labelers, "training")


def labels_wanted(recipe: Recipe, part: str) -> int:
    """How many of its team rank each prompt of a part."""
    noise = recipe.rank
    return noise.labels_per_prompt if part == "train" else noise.labels_per_valid_prompt


def turns(recipe: Recipe, step: str, part: str, num_prompts: int) -> Iterator[list[int]]:
    """Who of the team ranks each prompt, one prompt after another, drawn from the seed."""
    noise = recipe.rank
    size = noise.num_labelers if part == "train" else noise.num_heldout_labelers
    for number in range(num_prompts):
        draws = numpy_generator(recipe.seed, f"{stream_of(recipe, step)}rank/{part}", number)
        chosen = draws.choice(size, size=labels_wanted(recipe, part), replace=False)
        yield [int(place) for place in chosen]


def stream_of(recipe: Recipe, step: str) -> str:
    """What a round's random streams begin with; the first round has those of a run of one."""
    number = round_of(recipe, step)
    return "" if number == 1 else f"round {number}/"


def judging_once(judge: Judge) -> Judge:
    """The judge for one prompt; what several labelers read is judged once."""
    known: dict[str, Judgement] = {}

    def seen(prompt: Prompt, response: str) -> Judgement:
        if response not in known:
            known[response] = judge(prompt, response)
        return known[response]

    return seen
