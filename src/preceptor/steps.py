"""What each step of a run reads and writes: files in, one stage called, files out."""

import importlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.config import Architecture, PPOConfig, Recipe
from preceptor.data.batching import (
    encode_demonstrations,
    fit_prompts,
    open_sequences,
    pack_documents,
)
from preceptor.data.dataset import Choice
from preceptor.data.records import (
    Demonstration,
    Prompt,
    Ranking,
    read_records,
    text_of,
    write_records,
)
from preceptor.data.sources import assemble
from preceptor.errors import DataError, RecipeError
from preceptor.evaluation.judges import judge_of, parts_of
from preceptor.evaluation.labelers import Labeler, make_labelers, rank_responses
from preceptor.generation import row_uniforms, sample
from preceptor.models.load import (
    load_policy,
    load_scalar,
    load_tokenizer,
    new_policy,
    scalar_from_policy,
    with_lora,
)
from preceptor.models.lora import halve_frozen
from preceptor.models.precision import precision
from preceptor.models.tokenizers import decode, encode_prompt, encode_response
from preceptor.randomness import derived_seed, numpy_generator
from preceptor.stages.ppo import HeldOut, Score, run_ppo
from preceptor.stages.pretrain import run_pretrain
from preceptor.stages.reward import RankedPrompt, run_reward, score_rows
from preceptor.stages.sft import run_sft
from preceptor.training.folder import StageFolder, read_json
from preceptor.training.progress import say


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


def tokenizer_of(recipe: Recipe) -> PreTrainedTokenizerBase:
    """The tokenizer that the whole run uses."""
    if isinstance(recipe.model, Architecture):
        from preceptor.miniature.tokenizer import miniature_tokenizer

        return miniature_tokenizer()
    path = given_model(recipe)
    return load_tokenizer(path, vocabulary_size=2**31)


def make_data(recipe: Recipe, out: Path) -> list[Path]:
    """Write every set of records, the packed text, the tasks and the attribution."""
    folder = out / "data"
    tokenizer = tokenizer_of(recipe)
    dataset = assemble(recipe)
    sets: dict[str, list[Any]] = {
        "corpus-train": dataset.corpus_train,
        "corpus-valid": dataset.corpus_valid,
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
    written = []
    for name, records in sets.items():
        if name.startswith(("prompts", "rankings")):
            records, _ = fit_prompts(records, tokenizer, recipe.max_prompt_tokens, name)
            left_out = len(sets[name]) - len(records)
            if left_out:
                say(
                    f"data: {left_out} of {len(sets[name])} {name} left out, longer than "
                    f"max_prompt_tokens {recipe.max_prompt_tokens}"
                )
        if records:
            write_records(folder / f"{name}.jsonl", records)
            written.append(folder / f"{name}.jsonl")
    for part, documents in (("train", dataset.corpus_train), ("valid", dataset.corpus_valid)):
        if documents:
            path = folder / f"tokens-{part}.npy"
            pack_documents(documents, tokenizer, path)
            written.append(path)
    for task, items in dataset.tasks.items():
        path = folder / f"task-{task}.jsonl"
        write_records(path, items)
        written.append(path)
    if dataset.attribution:
        path = folder / "ATTRIBUTION.md"
        path.write_text(dataset.attribution, encoding="utf-8")
        written.append(path)
    return written


def pretrain(recipe: Recipe, out: Path, folder: StageFolder) -> None:
    """Train the model that only continues text."""
    assert recipe.pretrain is not None
    if isinstance(recipe.model, Architecture):
        tokenizer = tokenizer_of(recipe)
        seed = derived_seed(recipe.seed, "weights")
        policy = new_policy(recipe.model, tokenizer, seed).eval()
    else:
        policy, tokenizer = load_policy(given_model(recipe))
    length = recipe.pretrain.sequence_length
    run_pretrain(
        recipe.pretrain,
        folder,
        policy=policy,
        tokenizer=tokenizer,
        train=open_sequences(out / "data" / "tokens-train.npy", length),
        valid=open_sequences(out / "data" / "tokens-valid.npy", length),
        seed=recipe.seed,
    )


def sft(recipe: Recipe, out: Path, folder: StageFolder) -> None:
    """Fine-tune on demonstrations."""
    policy, tokenizer = load_policy(base_model(recipe, out))
    policy = with_lora(policy, recipe.sft.lora, derived_seed(recipe.seed, "sft/lora"))
    if recipe.sft.precision == "bf16":
        halve_frozen(policy)
    valid_prompts = read_records(out / "data" / "prompts-valid.jsonl", Prompt)
    run_sft(
        recipe.sft,
        folder,
        policy=policy,
        tokenizer=tokenizer,
        train=demonstration_ids(recipe, out, tokenizer, "train"),
        valid=demonstration_ids(recipe, out, tokenizer, "valid"),
        valid_prompts=[encode_prompt(tokenizer, p.prompt) for p in valid_prompts],
        max_response_tokens=recipe.max_response_tokens,
        seed=recipe.seed,
    )


def demonstration_ids(
    recipe: Recipe, out: Path, tokenizer: PreTrainedTokenizerBase, part: str
) -> tuple[list[list[int]], list[list[int]]]:
    """Demonstrations as ids; the miniature, the packages and files all come this way."""
    path = out / "data" / f"demonstrations-{part}.jsonl"
    return encode_demonstrations(
        read_records(path, Demonstration),
        tokenizer,
        max_prompt_tokens=recipe.max_prompt_tokens,
        max_response_tokens=recipe.max_response_tokens,
        where=str(path),
    )


def sample_responses(recipe: Recipe, out: Path) -> list[Path]:
    """K = 4..9 responses of `sft` to every prompt that labelers will rank (section 3.4)."""
    policy, tokenizer = load_policy(out / "sft" / "model")
    if recipe.sft.precision == "bf16":
        halve_frozen(policy.requires_grad_(False))
    written = []
    for part in ("train", "valid"):
        prompts = read_records(out / "data" / f"prompts-reward-{part}.jsonl", Prompt)
        encoded = [encode_prompt(tokenizer, p.prompt) for p in prompts]
        draws = numpy_generator(recipe.seed, f"sample/{part}/k")
        low, high = recipe.sample.min_responses, recipe.sample.max_responses
        counts = [int(draws.integers(low, high + 1)) for _ in prompts]
        keys = [(i, k) for i, count in enumerate(counts) for k in range(count)]
        uniforms = row_uniforms(recipe.seed, f"sample/{part}", keys, recipe.max_response_tokens)
        say(f"sample {part}: {len(keys):,} responses to {len(prompts):,} prompts")
        with precision(recipe.sft.precision):
            generated = sample(
                policy,
                [encoded[i] for i, _ in keys],
                uniforms,
                stop_ids=[int(tokenizer.eos_token_id)],
                temperature=recipe.sample.temperature,
            )
        texts = [decode(tokenizer, tokens) for tokens in generated.responses]
        rows: list[dict[str, Any]] = [
            asdict(prompt) | {"responses": [], "finished": []} for prompt in prompts
        ]
        for (i, _), text, finished in zip(keys, texts, generated.finished, strict=True):
            rows[i]["responses"].append(text)
            rows[i]["finished"].append(finished)
        path = out / "data" / f"responses-{part}.jsonl"
        write_records(path, rows)
        written.append(path)
    return written


def rank(recipe: Recipe, out: Path) -> list[Path]:
    """Simulated labelers rank the responses: one a training prompt, several a held-out one."""
    judge = judge_of(recipe)
    noise = recipe.rank

    def team(count: int, group: Literal["training", "heldout"]) -> list[Labeler]:
        return make_labelers(
            count,
            seed=recipe.seed,
            temperature=noise.temperature,
            error_rate=noise.error_rate,
            tie_margin=noise.tie_margin,
            taste_spread=noise.taste_spread,
            group=group,
            parts=parts_of(recipe),
        )

    teams = {
        "train": team(noise.num_labelers, "training"),
        "valid": team(noise.num_heldout_labelers, "heldout"),
    }
    written = []
    for part, members in teams.items():
        rows = read_records(out / "data" / f"responses-{part}.jsonl", Prompt)
        asked = noise.labels_per_prompt if part == "train" else noise.labels_per_valid_prompt
        labels = min(asked, len(members))
        rankings = []
        for number, row in enumerate(rows):
            meta = dict(row.meta)
            responses = meta.pop("responses")
            draws = numpy_generator(recipe.seed, f"rank/{part}", number)
            for place in draws.choice(len(members), size=labels, replace=False):
                labeler = members[int(place)]
                prompt = Prompt(row.prompt, row.user, row.use_case, meta)
                ranks = rank_responses(labeler, prompt, responses, judge, draws)
                rankings.append(
                    Ranking(
                        row.prompt, responses, ranks, labeler.name, row.user, row.use_case, meta
                    )
                )
        path = out / "data" / f"rankings-{part}.jsonl"
        write_records(path, rankings)
        say(f"rank {part}: {len(rankings):,} rankings by {len(members)} labelers")
        written.append(path)
    return written


def ranking_key(ranking: Ranking) -> str:
    """The same for all labelers' rankings of the same responses."""
    return json.dumps([ranking.prompt, ranking.responses])


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
        finished = ranking.meta.get("finished") or [True] * len(ranking.responses)
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


def read_rankings(out: Path, part: str) -> list[Ranking]:
    """The rankings of one part, by simulated labelers or the user's own."""
    return read_records(out / "data" / f"rankings-{part}.jsonl", Ranking)


def reward(recipe: Recipe, out: Path, folder: StageFolder) -> None:
    """Train the reward model from the SFT model."""
    model = scalar_from_policy(out / "sft" / "model", derived_seed(recipe.seed, "reward/head"))
    model = with_lora(model, recipe.reward.lora, derived_seed(recipe.seed, "reward/lora"))
    if recipe.reward.precision == "bf16":
        halve_frozen(model)
    _, tokenizer = load_policy(out / "sft" / "model")
    parts = {
        part: list(ranked_ids(recipe, read_rankings(out, part), tokenizer).values())
        for part in ("train", "valid")
    }
    for part, items in parts.items():
        if not any(item.pairs for item in items):
            raise DataError(
                f"rankings-{part}: no ranking with two responses in order, all are ties or too "
                "long. A reward model learns from pairs."
            )
    run_reward(
        recipe.reward,
        folder,
        model=model,
        tokenizer=tokenizer,
        train=parts["train"],
        valid=parts["valid"],
        demonstrations=demonstration_ids(recipe, out, tokenizer, "valid"),
        seed=recipe.seed,
    )


def require_good_reward_model(recipe: Recipe, out: Path) -> None:
    """PPO against a reward model that guesses only makes a policy worse; refuse it."""
    summary = read_json(out / "reward" / "done.json")["summary"]
    accuracy, least = summary["valid_accuracy"], recipe.reward.min_accuracy
    if accuracy < least:
        raise RecipeError(
            f"reward: accuracy on held-out labels is {accuracy:.3f}, below reward.min_accuracy "
            f"{least}. PPO would optimise noise. Give more rankings, or lower the limit knowingly."
        )


def ppo(recipe: Recipe, out: Path, folder: StageFolder, name: str) -> None:
    """Train a policy against the reward model, from the SFT model and held to it."""
    config: PPOConfig = getattr(recipe, name)
    start = out / "sft" / "model"
    if config.reward == "reward_model":
        require_good_reward_model(recipe, out)
    policy, tokenizer = load_policy(start)
    policy = with_lora(policy, config.lora, derived_seed(recipe.seed, f"{name}/lora"))
    ref_policy, _ = load_policy(start)
    ref_policy.requires_grad_(False)
    value_model = load_scalar(out / "reward" / "model")
    value_model = with_lora(value_model, config.lora, derived_seed(recipe.seed, f"{name}/value"))
    if config.precision == "bf16":
        for model in (policy, ref_policy, value_model):
            halve_frozen(model)
    prompts = read_records(out / "data" / "prompts-ppo.jsonl", Prompt)
    looked = read_records(out / "data" / "prompts-valid.jsonl", Prompt)
    text = out / "data" / "tokens-train.npy"
    held_out_text = out / "data" / "tokens-valid.npy"
    length = config.ptx_sequence_length
    looked_text = None
    if held_out_text.is_file():
        looked_text = open_sequences(held_out_text, length)[: recipe.evaluate.num_tax_sequences]
    run_ppo(
        config,
        folder,
        policy=policy,
        ref_policy=ref_policy,
        value_model=value_model,
        score=score_function(recipe, config, out),
        tokenizer=tokenizer,
        prompts=prompts,
        prompt_ids=[encode_prompt(tokenizer, p.prompt) for p in prompts],
        pretraining=open_sequences(text, length) if config.ptx_coef else None,
        held_out=HeldOut(
            looked,
            [encode_prompt(tokenizer, p.prompt) for p in looked],
            judge_of(recipe),
            looked_text,
        ),
        max_response_tokens=recipe.max_response_tokens,
        seed=recipe.seed,
    )


def score_function(recipe: Recipe, config: PPOConfig, out: Path) -> Score:
    """The reward model, or the user's `module:function` of (prompts, responses) -> floats."""
    if config.reward == "reward_model":
        model = frozen_reward_model(recipe, out)

        def by_model(
            prompts: Sequence[Prompt],
            prompt_ids: list[list[int]],
            response_ids: list[list[int]],
            texts: list[str],
        ) -> torch.Tensor:
            return score_rows(model, prompt_ids, response_ids, recipe.reward)

        return by_model
    module_name, _, function_name = config.reward.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"ppo.reward is {config.reward}: {error}. It must name an importable module:function."
        ) from None

    def by_function(
        prompts: Sequence[Prompt],
        prompt_ids: list[list[int]],
        response_ids: list[list[int]],
        texts: list[str],
    ) -> torch.Tensor:
        scores = torch.tensor(
            [float(s) for s in function([text_of(p.prompt) for p in prompts], texts)]
        )
        if scores.shape != (len(texts),):
            raise RecipeError(
                f"ppo.reward {config.reward} gave {len(scores)} scores for {len(texts)} responses."
            )
        return scores

    return by_function


def frozen_reward_model(recipe: Recipe, out: Path) -> PreTrainedModel:
    """The reward model as PPO and evaluation use it."""
    model = load_scalar(out / "reward" / "model")
    model.requires_grad_(False)
    if recipe.reward.precision == "bf16":
        halve_frozen(model)
    return model


def read_tasks(out: Path) -> dict[str, list[Choice]]:
    """The few-shot tasks of the run's pretraining distribution."""
    tasks = {}
    for path in sorted((out / "data").glob("task-*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        tasks[path.stem.removeprefix("task-")] = [Choice(**row) for row in rows]
    return tasks


def machine() -> dict[str, Any]:
    """What the run ran on."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu_threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
    }


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    import preceptor

    names = ("torch", "transformers", "tokenizers", "numpy", "peft", "safetensors")
    return {"preceptor": preceptor.__version__} | {name: version(name) for name in names}


def read_alarms(out: Path) -> list[dict[str, Any]]:
    """Every alarm of the run's stages."""
    return [
        json.loads(line)
        for path in sorted(out.glob("*/alarms.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
