"""Many users' prompts, in the ten use cases and about the shares of InstructGPT's Table 1.

Splits are by user, and no text stands in two splits: each text belongs to one by its digest.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from preceptor.data.records import Prompt, text_of
from preceptor.miniature.grammar import words_of
from preceptor.miniature.phrasing import phrase
from preceptor.miniature.tasks import draw_kind, make_task
from preceptor.miniature.world import World
from preceptor.randomness import python_random

USE_CASES = {
    "generation": 45.6,
    "open_qa": 12.4,
    "brainstorming": 11.2,
    "chat": 8.4,
    "rewriting": 6.6,
    "summarization": 4.2,
    "classification": 3.5,
    "other": 3.5,
    "closed_qa": 2.6,
    "extraction": 1.9,
}
"""Shares in percent (InstructGPT, arXiv:2203.02155, Table 1)."""

SPLITS = {
    "train": 0.25,
    "reward": 0.25,
    "reward_valid": 0.08,
    "ppo": 0.25,
    "valid": 0.05,
    "test": 0.12,
}
"""Shares of users and of texts."""

NUM_USERS = 300
MAX_PROMPTS_PER_USER = 200
HELDOUT_FRACTION = 0.25  # of test prompts, for entities and for phrasings each
NAMELESS = 1.1  # some tasks name nobody, so a few more are asked to
MAX_TRIES = 400


@dataclass(frozen=True)
class User:
    """Somebody who writes prompts: how many, and mostly of which use cases."""

    name: str
    activity: float
    favorites: tuple[str, ...]


def make_users(seed: int) -> dict[str, list[User]]:
    """All users by split; activity falls as 1/rank, as in most logs."""
    rng = python_random(seed, "miniature/users")
    users = [
        User(f"user-{i:03d}", 1 / (10 + i), tuple(rng.sample(list(USE_CASES), 3)))
        for i in range(NUM_USERS)
    ]
    rng.shuffle(users)
    splits, start = {}, 0.0
    for split, share in SPLITS.items():
        first, last = round(start * NUM_USERS), round((start + share) * NUM_USERS)
        splits[split], start = users[first:last], start + share
    return splits


def split_of(text: str) -> str:
    """The only split that this text may stand in."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64 * sum(SPLITS.values())
    for split, share in SPLITS.items():
        point -= share
        if point < 0:
            return split
    return "test"


def make_prompts(world: World, split: str, num: int, users: Sequence[User]) -> list[Prompt]:
    """Prompts of one split; only those of `test` may name held-out characters or phrasings."""
    rng = python_random(world.seed, f"miniature/prompts/{split}")
    use_cases = _stratified(num, rng)
    heldout = HELDOUT_FRACTION if split == "test" else 0.0
    entities, phrasings = _flags(num, heldout * NAMELESS, rng), _flags(num, heldout, rng)
    seen: set[str] = set()
    written = dict.fromkeys((user.name for user in users), 0)
    prompts = []
    for use_case, entity, phrasing in zip(use_cases, entities, phrasings, strict=True):
        prompt = _new_prompt(world, split, use_case, rng, seen, entities=entity, phrasings=phrasing)
        free = [u for u in users if written[u.name] < MAX_PROMPTS_PER_USER] or list(users)
        weights = [u.activity * (4 if use_case in u.favorites else 1) for u in free]
        user = rng.choices(free, weights)[0]
        written[user.name] += 1
        seen.add(text_of(prompt.prompt))
        prompts.append(Prompt(prompt.prompt, user.name, use_case, prompt.meta))
    return prompts


def make_prompt(
    world: World,
    use_case: str,
    kind: str,
    rng: random.Random,
    *,
    constrained: bool = False,
    entities: bool = False,
    phrasings: bool = False,
) -> Prompt:
    """One prompt; `entities` and `phrasings` ask for held-out ones, where a task can have them."""
    names = world.heldout if entities else world.known
    task = make_task(kind, rng, world, names, constrained=constrained)
    turns = phrase(task, rng, world, heldout=phrasings)
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    named = bool(set(world.heldout) & {word for turn in turns for word in words_of(turn)})
    meta = {"task": task, "heldout_entity": named, "heldout_phrasing": phrasings}
    return Prompt(messages if use_case == "chat" else turns[0], "", use_case, meta)


def _new_prompt(
    world: World,
    split: str,
    use_case: str,
    rng: random.Random,
    seen: set[str],
    *,
    entities: bool,
    phrasings: bool,
) -> Prompt:
    """A prompt that belongs to the split and, as far as there are any left, was not yet there."""
    owned = None
    for attempt in range(MAX_TRIES):
        if attempt % (MAX_TRIES // 4) == 0:  # at last another kind, when there is no new text left
            kind, constrained = draw_kind(use_case, rng)
        prompt = make_prompt(
            world,
            use_case,
            kind,
            rng,
            constrained=constrained,
            entities=entities,
            phrasings=phrasings,
        )
        text = text_of(prompt.prompt)
        if phrasings or split_of(text) == split:  # held-out phrasings are test's alone
            owned = prompt
            if text not in seen:
                break
    if owned is None:
        raise AssertionError(f"no {use_case} prompt belongs to {split}")
    return owned


def _flags(num: int, fraction: float, rng: random.Random) -> list[bool]:
    """Exactly this fraction of True, shuffled."""
    flags = [index < round(num * fraction) for index in range(num)]
    rng.shuffle(flags)
    return flags


def _stratified(num: int, rng: random.Random) -> list[str]:
    """Use cases in the wanted shares as exactly as whole numbers allow, shuffled."""
    total = sum(USE_CASES.values())
    exact = {name: num * share / total for name, share in USE_CASES.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_rest[: num - sum(counts.values())]:
        counts[name] += 1
    chosen = [name for name, count in counts.items() for _ in range(count)]
    rng.shuffle(chosen)
    return chosen
