"""The miniature as a data source: everything the stages read, from one seed."""

import random
from collections.abc import Sequence

from preceptor.data.dataset import Choice, Dataset, Judge
from preceptor.miniature.corpus import Pattern, facts_pattern, make_corpus, opposites_pattern, rhyme
from preceptor.miniature.demonstrations import demonstrate
from preceptor.miniature.judge import judge
from preceptor.miniature.prompts import make_prompts, make_users
from preceptor.miniature.world import World, make_world
from preceptor.randomness import python_random

VALID_FRACTION = 0.04  # of the corpus, beside the training part
NUM_TASK_ITEMS = 200
NUM_CHOICES = 4


def make_miniature(
    *,
    seed: int,
    corpus_tokens: int = 1_500_000,
    num_demonstrations: int = 1500,
    num_reward_prompts: int = 2000,
    num_reward_valid_prompts: int = 200,
    num_ppo_prompts: int = 3000,
    num_valid_prompts: int = 128,
    num_test_prompts: int = 400,
) -> Dataset:
    """All data of the world with this seed, except rankings, which need a model's responses.

    `num_demonstrations` are for training; a tenth as many, from the users of `valid`, are held out.
    """
    world = make_world(seed)
    users = make_users(seed)
    rng = python_random(seed, "miniature/demonstrations")
    num_valid = num_valid_prompts + num_demonstrations // 10
    valid = make_prompts(world, "valid", num_valid, users["valid"])
    prompts = {
        split: make_prompts(world, split, num, users[split])
        for split, num in (
            ("train", num_demonstrations),
            ("reward", num_reward_prompts),
            ("reward_valid", num_reward_valid_prompts),
            ("ppo", num_ppo_prompts),
            ("test", num_test_prompts),
        )
    }
    return Dataset(
        corpus_train=list(make_corpus(world, "train", corpus_tokens)),
        corpus_valid=list(make_corpus(world, "valid", int(corpus_tokens * VALID_FRACTION))),
        demonstrations_train=[demonstrate(world, p, rng) for p in prompts["train"]],
        demonstrations_valid=[demonstrate(world, p, rng) for p in valid[num_valid_prompts:]],
        prompts_reward_train=prompts["reward"],
        prompts_reward_valid=prompts["reward_valid"],
        prompts_ppo=prompts["ppo"],
        prompts_valid=valid[:num_valid_prompts],
        prompts_test=prompts["test"],
        tasks=few_shot_tasks(world),
    )


def miniature_judge(seed: int) -> Judge:
    """The gold judge of the world with this seed."""
    return judge(make_world(seed))


def few_shot_tasks(world: World, num: int = NUM_TASK_ITEMS) -> dict[str, list[Choice]]:
    """Items in the corpus's own form that show what fine-tuning costs: the alignment tax.

    Facts and opposites, behind worked lines, are known by heart and soon at the ceiling. Going on
    with a line of words that was just said is what a small model does least surely.
    """
    makers = {
        "facts": lambda rng: _worked_item(facts_pattern(world, rng), rng),
        "opposites": lambda rng: _worked_item(opposites_pattern(world, rng), rng),
        "copying": _copying_item,
    }
    return {
        kind: [
            make(python_random(world.seed, f"miniature/tasks/{kind}", index))
            for index in range(num)
        ]
        for kind, make in makers.items()
    }


def _worked_item(make: Pattern, rng: random.Random) -> Choice:
    """Three or four worked lines of a pattern, then one whose last word is to be chosen."""
    line, answer, wrong = make()
    worked: list[str] = []
    wanted = rng.choice((3, 4))
    while len(worked) < wanted:
        other = make()[0]
        if other != line and other not in worked:
            worked.append(other)
    opening = line.removesuffix(f" {answer}.")
    return _choice(f"{' '.join(worked)} {opening}", answer, wrong, rng)


def _copying_item(rng: random.Random) -> Choice:
    """A line begins again; its next word is to be chosen among its own."""
    line = rhyme(rng)
    place = rng.randrange(1, len(line))
    wrong = [word for word in line if word != line[place]]
    context = f"{', '.join(line)}. {', '.join(line[:place])},"
    return _choice(context, line[place], wrong, rng)


def _choice(context: str, answer: str, wrong: Sequence[str], rng: random.Random) -> Choice:
    """The right word among three wrong ones, in any place."""
    choices = [f" {word}" for word in rng.sample(list(wrong), NUM_CHOICES - 1)]
    place = rng.randrange(NUM_CHOICES)
    choices.insert(place, f" {answer}")
    return Choice(context, choices, place)
