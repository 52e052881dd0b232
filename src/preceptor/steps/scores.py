"""Where PPO's scores come from: the reward model, a function of the user's, or a web service."""

import importlib
import json
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import torch
from torch import nn
from transformers import PreTrainedModel

from preceptor.config import PPOConfig, Recipe, RewardConfig
from preceptor.data.records import Prompt, file_hash, text_of
from preceptor.errors import RecipeError, TrainingError
from preceptor.models.load import before_training, load_frozen_scalar
from preceptor.stages.ppo import Score
from preceptor.stages.reward import score_rows

AT_ONCE = 64
"""Responses in one request to a service."""
TIMEOUT = 60.0
"""Seconds that a service may take for one request."""
ASKED_AGAIN = (408, 425, 429)
"""Refusals of HTTP that mean: later."""
PAUSES = (1.0, 4.0, 16.0)
"""Seconds to wait before asking a service again that did not answer."""


def score_function(recipe: Recipe, config: PPOConfig, home: Path) -> Score:
    """Scores [B] of responses, by whatever the recipe's `reward` names."""
    if config.reward == "reward_model":
        return model_scores(frozen_reward_model(recipe, home), recipe.reward)
    name = config.reward
    function = service(name) if config.is_service else reward_function(name)

    def by_function(
        prompts: Sequence[Prompt],
        prompt_ids: Sequence[list[int]],
        response_ids: list[list[int]],
        texts: list[str],
    ) -> torch.Tensor:
        found = function([text_of(p.prompt) for p in prompts], texts)
        return checked(found, texts, name)

    return by_function


def model_scores(
    model: PreTrainedModel, config: RewardConfig, head: nn.Linear | None = None
) -> Score:
    """Scores [B] by a reward model, or by a value model in training that began as one.

    That one is told the `head` it began with; its adapters are off while it scores.
    """

    def by_model(
        prompts: Sequence[Prompt],
        prompt_ids: Sequence[list[int]],
        response_ids: list[list[int]],
        texts: list[str],
    ) -> torch.Tensor:
        with nullcontext() if head is None else before_training(model, head):
            return score_rows(model, prompt_ids, response_ids, config)

    return by_model


def checked(found: Any, texts: Sequence[str], name: str) -> torch.Tensor:
    """What somebody else's code gave, as one finite number for each response.

    Raises:
        RecipeError: it is something else.
    """
    try:
        if isinstance(found, str | Mapping):
            raise TypeError
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


def service(url: str) -> Callable[[list[str], list[str]], list[Any]]:
    """A function that asks a web service: POST {"prompts", "responses"}, answer {"scores"}.

    At most AT_ONCE responses go in one request. A service that does not answer, or is too busy to,
    is asked again after PAUSES; the texts are the same, so nothing is lost by asking twice.
    """

    def ask(prompts: list[str], responses: list[str]) -> list[Any]:
        found = list[Any]()
        for start in range(0, len(responses), AT_ONCE):
            stop = start + AT_ONCE
            found += _scores_of(url, prompts[start:stop], responses[start:stop])
        return found

    return ask


def _scores_of(url: str, prompts: list[str], responses: list[str]) -> list[Any]:
    body = json.dumps({"prompts": prompts, "responses": responses}).encode()
    last, reply = "", b""
    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        # A recipe names it, no request does, and `http` or `https` is asked for where it is read.
        request = urllib.request.Request(  # noqa: S310
            url, data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
                reply = answer.read()
            break
        except urllib.error.HTTPError as error:
            with error:  # what a service finds wrong stands in the body
                said = error.read(200).decode(errors="replace").strip()
            last = f"{error.code} {error.reason} {said}".strip()
            if error.code < 500 and error.code not in ASKED_AGAIN:
                raise _unanswered(url, last) from None
        except (OSError, HTTPException) as error:  # refused, too slow, or cut short
            last = str(getattr(error, "reason", "") or error) or type(error).__name__
    else:
        raise _unanswered(url, last)
    try:
        scores = json.loads(reply)["scores"]
        if not isinstance(scores, list) or len(scores) != len(responses):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise _unanswered(
            url,
            f'the answer is not JSON like {{"scores": [...]}} with {len(responses)} numbers, '
            f"but {reply[:80].decode(errors='replace')!r}",
        ) from None
    return scores


def _unanswered(url: str, why: str) -> TrainingError:
    return TrainingError(
        f"reward {url}: {why}. Nothing is lost: mend the service and run the same command, it "
        "continues at the last checkpoint."
    )


def require_listener(url: str) -> None:
    """A service that is not there is told now, not after the stages before PPO.

    Raises:
        RecipeError: nothing listens at the address.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((str(parts.hostname), port), timeout=5.0).close()
    except OSError as error:
        raise RecipeError(
            f"reward {url}: nothing answers there ({error}). Start the service first."
        ) from None


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


def source_hash(config: PPOConfig) -> str | None:
    """Hash of the file that holds the user's reward function; None for a model or a service.

    What stands behind an address cannot be known: another service there is no change to us.
    """
    if config.reward == "reward_model" or config.is_service:
        return None
    module = sys.modules[reward_function(config.reward).__module__]
    return file_hash(Path(module.__file__)) if module.__file__ else None


def frozen_reward_model(recipe: Recipe, home: Path) -> PreTrainedModel:
    """The reward model below `home`, the run or one of its rounds, as PPO and evaluation use it."""
    return load_frozen_scalar(home / "reward" / "model", recipe.reward.precision)
