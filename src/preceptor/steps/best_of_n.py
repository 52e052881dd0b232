"""Best-of-n of a run's model by the run's reward model, beside what it costs in KL."""

from pathlib import Path
from typing import Any

from preceptor.config import Recipe
from preceptor.data.hashes import prompt_keys
from preceptor.data.records import Prompt
from preceptor.data.stored import open_records
from preceptor.evaluation.judges import judge_of
from preceptor.generation import row_uniforms, sample
from preceptor.models.load import load_frozen_policy
from preceptor.models.precision import precision
from preceptor.models.tokenizers import decode, encode_prompt
from preceptor.stages.reward import score_rows
from preceptor.statistics import best_of_n_kl, best_of_n_mean, cluster_bootstrap
from preceptor.steps.scores import frozen_reward_model
from preceptor.training.folder import write_json
from preceptor.training.progress import say


def best_of_n(recipe: Recipe, out: Path, model: str, largest: int) -> list[dict[str, Any]]:
    """Draw `largest` responses to every test prompt; a row for each n = 1, 2, 4, .., largest.

    The rows go to evaluation/best_of_n-MODEL.json: n, KL from that model in nats, and the mean
    score and judgement of what the reward model likes best, with intervals over prompts.
    """
    policy, tokenizer = load_frozen_policy(out / model / "model", recipe.sft.precision)
    given = open_records(out / "data" / "prompts-test.jsonl", Prompt)
    prompts = list(given[: recipe.evaluate.num_prompts])
    places = [(i, k) for i in range(len(prompts)) for k in range(largest)]
    own = prompt_keys(prompt.prompt for prompt in prompts).tolist()
    keys = [(*own[i], k) for i, k in places]
    say(f"best of {largest}: {len(keys):,} responses of {model} to {len(prompts):,} prompts")
    encoded = [encode_prompt(tokenizer, prompt.prompt) for prompt in prompts]
    with precision(recipe.sft.precision):
        generated = sample(
            policy,
            [encoded[i] for i, _ in places],
            row_uniforms(recipe.seed, "best_of_n", keys, recipe.max_response_tokens),
            stop_ids=[int(tokenizer.eos_token_id)],
            temperature=recipe.evaluate.temperature,
            spare_memory=recipe.sft.spare_memory,
        )
    reward_model = frozen_reward_model(recipe, out)
    scores = score_rows(
        reward_model, [encoded[i] for i, _ in places], generated.responses, recipe.reward
    ).tolist()
    judge = judge_of(recipe)
    judged = [
        judge(prompts[i], decode(tokenizer, response)).score
        for (i, _), response in zip(places, generated.responses, strict=True)
    ]
    rows = []
    n = 1
    while n <= largest:
        means: dict[str, Any] = {}
        for name, values in (("score", scores), ("judge", judged)):
            each = [
                best_of_n_mean(
                    scores[i * largest : (i + 1) * largest],
                    values[i * largest : (i + 1) * largest],
                    n,
                )
                for i in range(len(prompts))
            ]
            means[name] = cluster_bootstrap(each).as_dict()
        rows.append({"n": n, "kl": best_of_n_kl(n)} | means)
        n = n * 2 if n * 2 <= largest or n == largest else largest
    (out / "evaluation").mkdir(exist_ok=True)
    write_json(out / "evaluation" / f"best_of_n-{model}.json", {"model": model, "rows": rows})
    return rows
