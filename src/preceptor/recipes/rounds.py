"""Rounds of collection (InstructGPT section 3.1): which step of which round has which name.

The last round's steps have plain names, `reward`, and lie where they lie in a run of one round;
those of earlier ones are `rounds/1/reward`, and lie there.
"""

from pathlib import Path, PurePosixPath

from preceptor.config import Recipe


def step_name(recipe: Recipe, number: int, kind: str) -> str:
    """The name of a step of round `number`, 1 to `recipe.rounds`."""
    return kind if number == recipe.rounds else f"rounds/{number}/{kind}"


def kind_of(step: str) -> str:
    """What a step does: `rounds/1/reward` trains a reward model."""
    return PurePosixPath(step).name


def round_of(recipe: Recipe, step: str) -> int:
    """The round that a step belongs to; steps without rounds belong to the last."""
    return int(step.split("/")[1]) if "/" in step else recipe.rounds


def home_of(out: Path, step: str) -> Path:
    """The folder below which a step's own folders lie: the run's, or that of its round."""
    return out / PurePosixPath(step).parent


def homes_up_to(recipe: Recipe, out: Path, step: str) -> list[Path]:
    """The homes of this step's round and of all before it: whose rankings it may learn from."""
    numbers = range(1, round_of(recipe, step) + 1)
    return [home_of(out, step_name(recipe, number, "rank")) for number in numbers]


def policy_of(recipe: Recipe) -> str | None:
    """The stage whose model is ranked in the next round: PPO-ptx where there is one."""
    if recipe.ppo_ptx is not None:
        return "ppo_ptx"
    return "ppo" if recipe.ppo is not None else None
