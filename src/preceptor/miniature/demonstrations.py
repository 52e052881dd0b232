"""Demonstrations as people write them: mostly good, each with its own carelessness."""

import random
from dataclasses import asdict, dataclass

from preceptor.data.records import Demonstration, Prompt
from preceptor.miniature.answers import respond
from preceptor.miniature.world import World


@dataclass(frozen=True)
class Flaws:
    """How often each flaw comes in, independently of the others."""

    no_courtesy: float = 0.38
    ignore: float = 0.25  # the constraint is overlooked
    mistake: float = 0.08  # something is wrong in the answer
    guess: float = 0.4  # instead of "i do not know"
    ramble: float = 0.16  # one irrelevant sentence more
    half: float = 0.12  # the last item or sentence is missing
    rude: float = 0.05
    cut: float = 0.08  # breaks off in mid-sentence

    def draw(self, rng: random.Random) -> frozenset[str]:
        """The flaws of one response."""
        return frozenset(name for name, rate in asdict(self).items() if rng.random() < rate)


def demonstrate(
    world: World, prompt: Prompt, rng: random.Random, flaws: Flaws | None = None
) -> Demonstration:
    """A person's response to the prompt."""
    drawn = (flaws or Flaws()).draw(rng)
    response = respond(world, prompt.meta["task"], rng, drawn)
    return Demonstration(prompt.prompt, response, prompt.user, prompt.use_case, dict(prompt.meta))
