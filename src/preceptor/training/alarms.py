"""Bad training says so early: each alarm has its number, its threshold and its usual cause."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Alarm:
    """One thing that looks wrong."""

    name: str
    value: float
    threshold: float
    cause: str

    def describe(self) -> str:
        """The alarm in one line."""
        return (
            f"{self.name} {self.value:.3g}, threshold {self.threshold:.3g}. "
            f"Usual cause: {self.cause}"
        )


RATIO = "old and new log-probabilities come from different passes, or dropout is on."
NEGATIVE_KL = "mask, padding or temperature differ between sampling and the reference."
FAR = "kl_coef too small, or the reward model prefers what no model of language would say."
EMPTY = "the reward model likes silence best, or unfinished responses are punished too hard."
TRUNCATED = "max_response_tokens too small, or the end token was never learned in SFT."
NO_SPREAD = "every response gets the same score: a dead reward model or one repeated answer."
CLIPPED = "learning rate or num_epochs too high."
LENGTH = "the reward model likes length: look at its longer-wins figure, raise kl_coef."
GAMED = (
    "labels prefer such responses, or none was ever ranked: rank some, raise kl_coef, read samples."
)
OVEROPTIMIZED = "the policy games the reward model: raise kl_coef or stop earlier."


def ppo_alarms(metrics: Mapping[str, float], first: Mapping[str, float]) -> list[Alarm]:
    """Alarms of one PPO step, against the metrics of the stage's first step."""
    found = []
    if metrics["ppo/ref_kl"] < -1.0:
        found.append(Alarm("ref_kl", metrics["ppo/ref_kl"], -1.0, NEGATIVE_KL))
    a_token = metrics["ppo/ref_kl"] / metrics["ppo/length_mean"]
    if a_token > 2.0:
        found.append(Alarm("ref_kl_a_token", a_token, 2.0, FAR))
    if metrics["ppo/length_mean"] == 1.0 and metrics["ppo/truncated_fraction"] == 0.0:
        found.append(Alarm("empty_responses", 1.0, 1.0, EMPTY))
    if metrics["ppo/truncated_fraction"] > 0.9:
        found.append(Alarm("truncated_fraction", metrics["ppo/truncated_fraction"], 0.9, TRUNCATED))
    if metrics["ppo/score_std"] < 1e-6:
        found.append(Alarm("score_std", metrics["ppo/score_std"], 1e-6, NO_SPREAD))
    if metrics["ppo/clip_fraction"] > 0.5:
        found.append(Alarm("clip_fraction", metrics["ppo/clip_fraction"], 0.5, CLIPPED))
    limit = 2.0 * first["ppo/length_mean"]
    if metrics["ppo/length_mean"] > limit:
        found.append(Alarm("length_mean", metrics["ppo/length_mean"], limit, LENGTH))
    return found


def overoptimization_alarm(proxy: Sequence[float], held_out: Sequence[float]) -> list[Alarm]:
    """The reward model's score still rises while the held-out judge has fallen from its best.

    Both sequences are the looks so far. Raised once the judge is 0.05 below its best and the
    proxy is above what it was at that best.
    """
    best = max(range(len(held_out)), key=lambda i: held_out[i])
    fall = held_out[best] - held_out[-1]
    if fall > 0.05 and proxy[-1] > proxy[best]:
        return [Alarm("held_out_fall", fall, 0.05, OVEROPTIMIZED)]
    return []


def ratio_alarm(ratio_gap: float, tolerance: float) -> list[Alarm]:
    """The first minibatch's ratio is not 1."""
    if math.isnan(ratio_gap) or ratio_gap > tolerance:
        return [Alarm("first_ratio_gap", ratio_gap, tolerance, RATIO)]
    return []


def probe_alarms(
    shares: Mapping[str, float | None], lows: Mapping[str, float | None]
) -> list[Alarm]:
    """The reward model surely likes most demonstrations better when they are tampered with.

    `shares` has for each probe the share of demonstrations whose tampered version scores higher,
    `lows` the lower end of its interval: where few demonstrations have room, a share says little.
    """
    return [
        Alarm(f"probe_{name}", share, 0.5, GAMED)
        for name, share in shares.items()
        if share is not None and (lows[name] or 0.0) > 0.5
    ]
