"""What is true in the miniature: two dozen characters and what the corpus says about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from preceptor.miniature.words import ATTRIBUTES, NAMES
from preceptor.randomness import python_random

STRANGER_FRACTION = 0.25
NUM_HELDOUT = 5


@dataclass(frozen=True)
class World:
    """Facts by (character, attribute); None is a fact that nobody has ever told.

    Strangers are characters of whom no fact is known, though stories name them like all others.
    `heldout` characters stand in the corpus like all others, but no training prompt names them.
    """

    seed: int
    facts: Mapping[tuple[str, str], str | None]
    heldout: tuple[str, ...]

    def fact(self, name: str, attribute: str) -> str | None:
        """The true value, or None where "i do not know" is the only true answer."""
        return self.facts.get((name, attribute))

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The characters that training prompts may name."""
        return tuple(name for name in NAMES if name not in self.heldout)

    @cached_property
    def told(self) -> tuple[tuple[str, str], ...]:
        """What is known of them, as (character, attribute)."""
        return tuple((n, a) for n in self.known for a in ATTRIBUTES if self.fact(n, a))


def make_world(seed: int) -> World:
    """The world of this seed; names and values are always the same, facts differ."""
    rng = python_random(seed, "miniature/world")
    heldout = tuple(sorted(rng.sample(NAMES, NUM_HELDOUT)))
    facts: dict[tuple[str, str], str | None] = {}
    for name in NAMES:
        # Friends stay on their side, so that no training answer names a held-out character.
        side = [other for other in NAMES if (other in heldout) == (name in heldout)]
        for attribute, values in ATTRIBUTES.items():
            pool = [v for v in side if v != name] if attribute == "friend" else list(values)
            facts[name, attribute] = rng.choice(pool)
    for group in (heldout, tuple(name for name in NAMES if name not in heldout)):
        for stranger in rng.sample(group, round(STRANGER_FRACTION * len(group))):
            facts |= {(stranger, attribute): None for attribute in ATTRIBUTES}
    return World(seed, facts, heldout)
