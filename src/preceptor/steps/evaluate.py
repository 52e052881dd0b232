"""The evaluation step: models and rankings of a run in, the figures of results.json out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from preceptor.config import Recipe
from preceptor.data.batching import packed_text
from preceptor.data.records import Demonstration as Demo
from preceptor.data.records import Prompt, Ranking, write_records
from preceptor.data.stored import open_records
from preceptor.evaluation.answers import response_rows
from preceptor.evaluation.judges import judge_of
from preceptor.evaluation.results import Rows, compare, gold_scores
from preceptor.evaluation.reward_model import reward_model_results
from preceptor.evaluation.run import Inputs, ScoreIds, answer_prompts, evaluate
from preceptor.models.load import load_frozen_policy, load_tokenizer
from preceptor.models.tokenizers import encode_prompt
from preceptor.recipes.rounds import home_of, homes_up_to, policy_of, step_name
from preceptor.stages.reward import score_rows
from preceptor.steps import inputs, scores
from preceptor.training.folder import read_json, read_lines
from preceptor.training.progress import say


def compare_models(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Compare the run's models and rounds; returns results.json but for what pipeline adds.

    Every model's responses are left in evaluation/.
    """
    folder = out / "evaluation"
    data = out / "data"
    models = {"gpt": inputs.base_model(recipe, out), "sft": out / "sft" / "model"}
    for name in ("ppo", "ppo_ptx"):
        if getattr(recipe, name) is not None:
            models[name] = out / name / "model"
    score = scorer(recipe, out)
    test = open_records(data / "prompts-test.jsonl", Prompt)
    rankings = list(inputs.read_rankings(homes_up_to(recipe, out, "reward"), "valid"))
    tokenizer = load_tokenizer(out / "sft" / "model", 2**31)
    ranking_scores = score_rankings(recipe, rankings, tokenizer, score, out / "data")
    found = evaluate(
        recipe,
        models,
        Inputs(
            test=test,
            valid=open_records(data / "prompts-valid.jsonl", Prompt),
            demonstrations=open_records(data / "demonstrations-train.jsonl", Demo),
            rankings=rankings,
            ranking_scores=ranking_scores,
            tasks=inputs.read_tasks(out),
            text=packed_text(data, "valid"),
            reward_summary=read_json(out / "reward" / "done.json")["summary"],
        ),
        judge=judge_of(recipe),
        score=score,
        folder=folder,
        say=say,
    )
    if recipe.rounds > 1:
        asked = test[: recipe.evaluate.num_prompts]
        sft_rows = read_lines(folder / "responses-sft.jsonl")
        found["rounds"] = {
            str(number): round_results(recipe, out, number, rankings, asked, sft_rows)
            for number in range(1, recipe.rounds + 1)
        }
    return found


def scorer(recipe: Recipe, home: Path) -> ScoreIds:
    """The reward model of a run, or of one of its rounds, on ids."""
    reward_model = scores.frozen_reward_model(recipe, home)

    def score(prompt_ids: list[list[int]], response_ids: list[list[int]]) -> list[float]:
        found: list[float] = score_rows(
            reward_model, prompt_ids, response_ids, recipe.reward
        ).tolist()
        return found

    return score


def round_results(
    recipe: Recipe,
    out: Path,
    number: int,
    rankings: Sequence[Ranking],
    test: Sequence[Prompt],
    sft_rows: Rows,
) -> dict[str, Any]:
    """What one round came to: its reward model on all rounds' held-out rankings, and its policy.

    The rankings are the same for every round, so that their reward models can be compared: a
    later one has seen what an earlier one had to judge unseen.
    """
    kind = str(policy_of(recipe))
    home = home_of(out, step_name(recipe, number, kind))
    judge = judge_of(recipe)
    score = scorer(recipe, home)
    tokenizer = load_tokenizer(home / kind / "model", 2**31)
    if number == recipe.rounds:  # the run's own policy, which has answered already
        rows = read_lines(out / "evaluation" / f"responses-{kind}.jsonl")
    else:
        say(f"evaluate round {number}: {len(test)} prompts")
        model, _ = load_frozen_policy(home / kind / "model", recipe.sft.precision)
        prompt_ids = [encode_prompt(tokenizer, prompt.prompt) for prompt in test]
        answers = answer_prompts(recipe, model, tokenizer, test, prompt_ids, continues_text=False)
        rows = response_rows(test, answers, judge, score(prompt_ids, answers.tokens))
        write_records(out / "evaluation" / f"responses-round-{number}.jsonl", rows)
    known = reward_model_results(
        rankings,
        score_rankings(recipe, rankings, tokenizer, score, out / "data"),
        judge,
        read_json(home / "reward" / "done.json")["summary"],
    )
    kept = int(read_json(home / kind / "done.json")["summary"]["chosen_step"])
    metrics = read_lines(home / kind / "metrics.jsonl")
    return {
        "policy": kind,
        "num_comparisons": known["num_comparisons"],
        "accuracy_on_labels": known["accuracy_on_labels"],
        "accuracy_on_gold": known["accuracy_on_gold"],
        "by_source": known["by_source"],
        "gold_score": gold_scores(rows),
        "win_rate_vs_sft": compare(rows, sft_rows),
        # In training, at the step whose model was kept; the start itself is at 0.
        "ref_kl": metrics[kept - 1]["ppo/ref_kl"] if kept else 0.0,
    }


def score_rankings(
    recipe: Recipe,
    rankings: Sequence[Ranking],
    tokenizer: PreTrainedTokenizerBase,
    score: ScoreIds,
    scratch: Path,
) -> list[list[float]]:
    """The reward model's scores of each ranking's responses; several labelers' share theirs."""
    ranked, numbers = inputs.ranked_ids(recipe, rankings, tokenizer, scratch)
    items = list(ranked)
    flat = score(
        [item.prompt for item in items for _ in item.responses],
        [response for item in items for response in item.responses],
    )
    starts = np.cumsum([0, *(len(item.responses) for item in items)]).tolist()
    return [flat[starts[number] : starts[number + 1]] for number in numbers.tolist()]
