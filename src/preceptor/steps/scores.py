"""Where PPO's scores come from: the reward model, a function of the user's, or a web service."""

import importlib
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from preceptor.config import PPOConfig, Recipe
from preceptor.data.records import Prompt, file_hash, text_of
from preceptor.errors import RecipeError, TrainingError
from preceptor.models.load import load_scalar
from preceptor.models.lora import halve_frozen
from preceptor.stages.ppo import Score
from preceptor.stages.reward import score_rows

TIMEOUT = 60.0
"""Seconds that a service may take for one batch."""
PAUSES = (1.0, 4.0, 16.0)
"""Seconds to wait before asking a service again that did not answer."""


def score_function(recipe: Recipe, config: PPOConfig, out: Path) -> Score:
    """Scores [B] of responses, by whatever the recipe's `reward` names."""
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
    name = config.reward
    function = service(name) if is_service(name) else reward_function(name)

    def by_function(
        prompts: Sequence[Prompt],
        prompt_ids: list[list[int]],
        response_ids: list[list[int]],
        texts: list[str],
    ) -> torch.Tensor:
        found = function([text_of(p.prompt) for p in prompts], texts)
        return checked(found, texts, name)

    return by_function


def checked(found: Any, texts: Sequence[str], name: str) -> torch.Tensor:
    """What somebody else's code gave, as one finite number for each response.

    Raises:
        RecipeError: it is something else.
    """
    try:
        scores = torch.tensor([float(number) for number in found])
    except (TypeError, ValueError):
        raise RecipeError(
            f"reward {name} gave {type(found).__name__} {str(found)[:80]!r}; it must give a "
            "list of numbers, one for each response."
        ) from None
    if scores.shape != (len(texts),):
        raise RecipeError(f"reward {name} gave {len(scores)} scores for {len(texts)} responses.")
    if not bool(scores.isfinite().all()):
        row = int((~scores.isfinite()).nonzero()[0])
        raise RecipeError(
            f"reward {name} gave {float(scores[row])} for {texts[row][:80]!r}. Every "
            "score must be a finite number."
        )
    return scores


def is_service(reward: str) -> bool:
    """Whether the recipe's `reward` is the address of a service."""
    return reward.startswith(("http://", "https://"))


def service(url: str) -> Callable[[list[str], list[str]], Any]:
    """A function that asks a web service: POST {"prompts", "responses"}, answer {"scores"}.

    A service that does not answer, or answers 5xx, is asked again after PAUSES; the texts are
    the same, so nothing is lost by asking twice.
    """

    def ask(prompts: list[str], responses: list[str]) -> Any:
        body = json.dumps({"prompts": prompts, "responses": responses}).encode()
        headers = {"Content-Type": "application/json"}
        last = ""
        for pause in (0.0, *PAUSES):
            time.sleep(pause)
            request = urllib.request.Request(url, data=body, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
                    answer = json.loads(reply.read())
                return answer["scores"]
            except urllib.error.HTTPError as error:
                last = f"{error.code} {error.reason}"
                if error.code < 500:
                    break
            except (OSError, TimeoutError) as error:  # URLError is an OSError
                last = str(getattr(error, "reason", error))
            except (ValueError, KeyError, TypeError):
                raise RecipeError(
                    f'reward {url}: the answer is not JSON of the form {{"scores": [...]}}.'
                ) from None
        raise TrainingError(
            f"reward {url}: {last}. Nothing is lost: mend the service and run the same command, it "
            "continues at the last checkpoint."
        )

    return ask


def reward_function(name: str) -> Callable[[list[str], list[str]], Sequence[float]]:
    """The user's function from `module:function`; the command puts the working folder in the path.

    Raises:
        RecipeError: there is no such module, or it has no such function.
    """
    module_name, _, function_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # the module is the user's: it may raise anything
        raise RecipeError(
            f"reward {name}: {type(error).__name__}: {error}. It must name a module:function that "
            "can be imported from the working folder or the environment."
        ) from None
    return cast(Callable[[list[str], list[str]], Sequence[float]], found)


def source_hash(reward: str) -> str | None:
    """Hash of the file that holds the user's reward function; None for a model or a service."""
    if reward == "reward_model" or is_service(reward):
        return None
    module = sys.modules[reward_function(reward).__module__]
    return file_hash(Path(module.__file__)) if module.__file__ else None


def frozen_reward_model(recipe: Recipe, out: Path) -> PreTrainedModel:
    """The reward model as PPO and evaluation use it."""
    model = load_scalar(out / "reward" / "model")
    model.requires_grad_(False)
    if recipe.reward.precision == "bf16":
        halve_frozen(model)
    return model
