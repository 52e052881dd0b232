"""Compare every model of a run on the held-out prompts and write results.json."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.config import Recipe
from preceptor.data.batching import open_sequences
from preceptor.data.dataset import Choice, Judge
from preceptor.data.hashes import prompt_keys
from preceptor.data.records import Demonstration, Prompt, Ranking, write_records
from preceptor.evaluation import results
from preceptor.evaluation.answers import (
    Answers,
    answer,
    few_shot_ids,
    few_shot_room,
    response_losses,
    response_rows,
)
from preceptor.evaluation.reward_model import reward_model_results
from preceptor.evaluation.tax import pretraining_loss, task_accuracy
from preceptor.models.load import load_frozen_policy
from preceptor.models.tokenizers import encode_prompt
from preceptor.randomness import numpy_generator

ScoreIds = Callable[[list[list[int]], list[list[int]]], list[float]]
"""The reward model: (prompts as ids, responses as ids) -> scores."""


@dataclass(frozen=True)
class Inputs:
    """Everything that evaluation reads."""

    test: Sequence[Prompt]
    valid: Sequence[Prompt]
    demonstrations: Sequence[Demonstration]
    rankings: Sequence[Ranking]
    ranking_scores: list[list[float]]
    tasks: Mapping[str, list[Choice]]
    text: Path | None
    reward_summary: Mapping[str, Any]


def evaluate(
    recipe: Recipe,
    models: Mapping[str, Path | str],
    inputs: Inputs,
    *,
    judge: Judge,
    score: ScoreIds,
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Answer, judge, compare; returns what results.json holds but for timing and versions.

    `models` has `gpt` and `sft` at least; `gpt_prompted` is made from `gpt` here.
    """
    test = list(inputs.test[: recipe.evaluate.num_prompts])
    answers: dict[str, list[dict[str, Any]]] = {}
    measures: dict[str, Any] = {}
    tax: dict[str, Any] = {"pretraining_loss": {}, "tasks": {task: {} for task in inputs.tasks}}
    dtype = recipe.sft.precision
    start, start_tokenizer = load_frozen_policy(models["gpt"], dtype)
    for name, path in models.items():
        say(f"evaluate {name}: {len(test)} prompts")
        is_start = name == "gpt"
        model, tokenizer = (start, start_tokenizer) if is_start else load_frozen_policy(path, dtype)
        prompt_ids = [encode_prompt(tokenizer, p.prompt) for p in test]
        variants = {name: prompt_ids}
        if is_start:
            shots = best_prefix(recipe, model, tokenizer, inputs, score)
            room = few_shot_room(model, recipe.max_response_tokens)
            variants["gpt_prompted"] = [few_shot_ids(tokenizer, shots, p, room) for p in test]
        for variant, asked in variants.items():
            found = answer_prompts(recipe, model, tokenizer, test, asked, continues_text=is_start)
            rows = response_rows(test, found, judge, score(prompt_ids, found.tokens))
            write_records(folder / f"responses-{variant}.jsonl", rows)
            answers[variant] = rows
            losses = response_losses(start, prompt_ids, found.tokens, dtype)
            measures[variant] = results.measures(rows, losses)
        if inputs.text is not None:
            sequences = open_sequences(inputs.text, text_length(recipe))
            looked = sequences[: recipe.evaluate.num_tax_sequences]
            tax["pretraining_loss"][name] = pretraining_loss(model, looked, dtype).as_dict()
        for task, items in inputs.tasks.items():
            tax["tasks"][task][name] = task_accuracy(model, tokenizer, items, dtype).as_dict()
    return {
        "schema_version": 1,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "judge": recipe.judge,
        "models": list(answers),
        "gold_score": {name: results.gold_scores(rows) for name, rows in answers.items()},
        "win_rate": win_rates(answers),
        "rates": {name: results.rates(rows) for name, rows in answers.items()},
        "measures": measures,
        "by_use_case": results.by_group(answers, lambda row: row["use_case"] or "none"),
        "held_out": results.by_group(answers, results.held_out_group),
        "reward_model": reward_model_results(
            inputs.rankings, inputs.ranking_scores, judge, inputs.reward_summary
        ),
        "alignment_tax": tax
        | {"note": "Held-out loss in nats per token of packed text; accuracy of few-shot tasks."},
    }


def text_length(recipe: Recipe) -> int:
    """The length of packed sequences in this run."""
    if recipe.pretrain is not None:
        return recipe.pretrain.sequence_length
    stage = recipe.ppo_ptx or recipe.ppo
    return stage.ptx_sequence_length if stage is not None else 128


def win_rates(answers: Mapping[str, results.Rows]) -> dict[str, Any]:
    """Every model against `sft`, as the paper's Figure 1; and sft against the prompted model."""
    found = {
        f"{name}_vs_sft": results.compare(rows, answers["sft"])
        for name, rows in answers.items()
        if name != "sft"
    }
    if "gpt_prompted" in answers:
        found["sft_vs_gpt_prompted"] = results.compare(answers["sft"], answers["gpt_prompted"])
    return found


def best_prefix(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    inputs: Inputs,
    score: ScoreIds,
) -> Sequence[Demonstration]:
    """The few-shot prefix that the reward model likes best on validation prompts.

    InstructGPT section 3.5 chose the prefix of "GPT-3 prompted" in this way.
    """
    room = few_shot_room(model, recipe.max_response_tokens)
    asked = list(inputs.valid[:64])
    plain = [encode_prompt(tokenizer, p.prompt) for p in asked]
    best: tuple[float, Sequence[Demonstration]] | None = None
    for number in range(recipe.evaluate.num_prefixes):
        draws = numpy_generator(recipe.seed, "evaluate/prefix", number)
        count = min(recipe.evaluate.num_shots, len(inputs.demonstrations))
        picks = draws.choice(len(inputs.demonstrations), size=count, replace=False)
        shots = [inputs.demonstrations[int(i)] for i in picks]
        ids = [few_shot_ids(tokenizer, shots, p, room) for p in asked]
        found = answer_prompts(recipe, model, tokenizer, asked, ids, continues_text=True)
        mean = sum(score(plain, found.tokens)) / len(asked)
        if best is None or mean > best[0]:
            best = (mean, shots)
    assert best is not None
    return best[1]


def answer_prompts(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    asked: list[list[int]],
    *,
    continues_text: bool,
) -> Answers:
    """One response to each prompt as it is `asked`, in ids, sampled as this recipe evaluates."""
    return answer(
        model,
        tokenizer,
        asked,
        keys=prompt_keys(prompt.prompt for prompt in prompts).tolist(),
        max_response_tokens=recipe.max_response_tokens,
        temperature=recipe.evaluate.temperature,
        continues_text=continues_text,
        dtype=recipe.sft.precision,
        seed=recipe.seed,
        spare_memory=recipe.sft.spare_memory,
    )
