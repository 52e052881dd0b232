"""Real English text out of the pinned packages, as a data set: corpus, demonstrations, prompts.

A title belongs to one pseudo-user, a user to one split, so nothing that is trained on is tested.
Some titles are held out of the corpus as well; they and phrasings that no training prompt has are
marked in the test prompts' `meta`.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from preceptor.data.attribution import attribution_of
from preceptor.data.dataset import Dataset
from preceptor.data.heldout import is_heldout, title_hash
from preceptor.data.package_terms import PACKAGES
from preceptor.data.real_groups import article_groups, dish_groups, fact_topics
from preceptor.data.real_prompts import (
    Draw,
    Example,
    Maker,
    acceptable,
    ask_passage,
    ask_trivia,
    brainstorm,
    caption,
    classify,
    define,
    extract_ingredients,
    extract_years,
    follow_up,
    reply,
    rewrite_basket,
    rewrite_person,
    shorten,
    summarize,
    tell_fact,
    write_method,
    write_needs,
    write_text,
)
from preceptor.data.real_records import (
    CHAT,
    FACTS,
    RECIPES,
    WIKI,
    Article,
    Fact,
    Group,
    Recipe,
    Trivia,
    Turn,
    read_articles,
    read_facts,
    read_recipes,
    read_small_talk,
    read_trivia,
    recipe_text,
)
from preceptor.data.real_tasks import make_tasks
from preceptor.data.records import Demonstration, Document, Prompt, text_of
from preceptor.errors import DataError
from preceptor.randomness import python_random

NUM_USERS = 1000
MIN_USERS = 15  # of a split, however small
GROUP_DRAWS = 8  # a group of articles gives many different questions
Item = Article | Recipe | Group | Fact | Trivia | Turn


@dataclass(frozen=True)
class Kind:
    """One maker, the records that it takes, and how many of 100 prompts it should give."""

    use_case: str
    share: float
    maker: Maker
    package: str
    records: str


# The paper's ten use cases. Those that a text can be held to (closed QA, summarization, ...) have
# larger shares than in its Table 1, generation a smaller one: the rubric sees more in them.
KINDS = (
    Kind("generation", 18, write_text, WIKI, "articles"),
    Kind("generation", 4, write_method, RECIPES, "recipes"),
    Kind("generation", 4, write_needs, RECIPES, "recipes"),
    Kind("open_qa", 14, define, WIKI, "articles"),
    Kind("open_qa", 2, ask_trivia, CHAT, "trivia"),
    Kind("brainstorming", 4, brainstorm, WIKI, "groups"),
    Kind("brainstorming", 5, brainstorm, RECIPES, "dishes"),
    Kind("chat", 5, follow_up, WIKI, "articles"),
    Kind("chat", 0.5, reply, CHAT, "small_talk"),
    Kind("rewriting", 4, shorten, WIKI, "articles"),
    Kind("rewriting", 3, rewrite_person, WIKI, "articles"),
    Kind("rewriting", 2, rewrite_basket, RECIPES, "recipes"),
    Kind("summarization", 6, summarize, WIKI, "articles"),
    Kind("summarization", 4, caption, WIKI, "articles"),
    Kind("classification", 8, classify, WIKI, "articles"),
    Kind("closed_qa", 9, ask_passage, WIKI, "articles"),
    Kind("extraction", 3, extract_ingredients, RECIPES, "recipes"),
    Kind("extraction", 2, extract_years, WIKI, "articles"),
    Kind("other", 3, tell_fact, FACTS, "facts"),
)


@dataclass(frozen=True)
class Records:
    """Everything that the packages gave, cleaned."""

    articles: list[Article]
    recipes: list[Recipe]
    facts: list[Fact]
    trivia: list[Trivia]
    small_talk: list[Turn]
    groups: list[Group]
    dishes: list[Group]
    all_facts: list[str]


@dataclass(frozen=True)
class Users:
    """Who belongs to which split."""

    by_split: dict[str, list[str]]
    split_of: dict[str, str]

    def of(self, title: str) -> str:
        """The user of a title; titles held out of the corpus are the test users' alone."""
        names = self.by_split["test"] if is_heldout(title) else list(self.split_of)
        return names[title_hash(title) % len(names)]


def read_all() -> Records:
    """Read the four packages; fetches what is not in the cache."""
    articles, recipes, facts = read_articles(), read_recipes(), read_facts()
    return Records(
        articles, recipes, fact_topics(facts), read_trivia(), read_small_talk(),
        article_groups(articles), dish_groups(recipes), facts,
    )  # fmt: skip


def make_real(
    *,
    seed: int,
    num_demonstrations: int,
    num_reward_prompts: int,
    num_reward_valid_prompts: int,
    num_ppo_prompts: int,
    num_valid_prompts: int,
    num_test_prompts: int,
    max_corpus_documents: int,
) -> Dataset:
    """The data set of real text; a pure function of its arguments and the pinned packages.

    Raises:
        DataError: a package cannot be had, or the records do not give so many prompts.
    """
    records = read_all()
    sizes = {
        "demonstrations_train": num_demonstrations,
        "demonstrations_valid": max(1, num_demonstrations // 10),
        "reward_train": num_reward_prompts,
        "reward_valid": num_reward_valid_prompts,
        "ppo": num_ppo_prompts,
        "valid": num_valid_prompts,
        "test": num_test_prompts,
    }
    users = assign_users(sizes, seed)
    seen: set[str] = set()
    made = {}
    for split in reversed(sizes):  # what is tested is chosen first, and asked nowhere else
        made[split] = make_demonstrations(records, split, sizes[split], users, seed, seen)
    corpus_train, corpus_valid = make_corpus(records, max_corpus_documents, seed)
    heldout = [article for article in records.articles if is_heldout(article.title)]
    every = [demonstration for split in made.values() for demonstration in split]
    packages = {d.meta["title"]: d.meta["package"] for d in every}
    used = Counter(packages.values())
    in_corpus = Counter(d.source for d in (*corpus_train, *corpus_valid))
    return Dataset(
        corpus_train=corpus_train,
        corpus_valid=corpus_valid,
        demonstrations_train=made["demonstrations_train"],
        demonstrations_valid=made["demonstrations_valid"],
        prompts_reward_train=_prompts(made["reward_train"]),
        prompts_reward_valid=_prompts(made["reward_valid"]),
        prompts_ppo=_prompts(made["ppo"]),
        prompts_valid=_prompts(made["valid"]),
        prompts_test=_prompts(made["test"]),
        tasks=make_tasks(heldout, python_random(seed, "real/tasks")),
        attribution=attribution_of(used, in_corpus),
    )


def make_demonstrations(
    records: Records, split: str, size: int, users: Users, seed: int, seen: set[str]
) -> list[Demonstration]:
    """`size` new prompts of one split with the response that the records give to each."""
    rng = python_random(seed, f"real/{split}")
    supplies = [_supply(records, kind, split, users, rng) for kind in KINDS]
    total = sum(kind.share for kind in KINDS)
    wanted = [round(size * kind.share / total) for kind in KINDS]
    chosen: list[Demonstration] = []
    for supply, count in zip(supplies, wanted, strict=True):
        chosen += _take(supply, count, seen)
    for supply in supplies:  # what one kind could not give, the others make up for
        chosen += _take(supply, size - len(chosen), seen)
    if len(chosen) < size:
        raise DataError(
            f"{split}: {len(chosen)} prompts can be made from the packages, {size} are asked for. "
            "Lower the sizes in the recipe's data section."
        )
    rng.shuffle(chosen)
    return chosen[:size]


def assign_users(sizes: dict[str, int], seed: int) -> Users:
    """The pseudo-users of each split, about in proportion to its size."""
    names = [f"user-{number:03d}" for number in range(NUM_USERS)]
    python_random(seed, "real/users").shuffle(names)
    total, by_split, start = sum(sizes.values()), {}, 0
    spare = NUM_USERS - MIN_USERS * len(sizes)
    for split, size in sizes.items():
        stop = start + MIN_USERS + spare * size // total
        by_split[split] = names[start:stop]
        start = stop
    return Users(by_split, {name: split for split, own in by_split.items() for name in own})


def make_corpus(
    records: Records, max_documents: int, seed: int
) -> tuple[list[Document], list[Document]]:
    """Training text and held-out text, divided by title; recipes and facts are the smaller part."""
    train: dict[str, list[Document]] = {WIKI: [], RECIPES: [], FACTS: []}
    valid: list[Document] = []
    for source, title, text in _texts(records):
        document = Document(text, source, {"title": title, "licence": PACKAGES[source].licence})
        (valid if is_heldout(title) else train[source]).append(document)
    rng = python_random(seed, "real/corpus")
    for documents in (*train.values(), valid):
        rng.shuffle(documents)
    few = max_documents // 5
    chosen = train[RECIPES][:few] + train[FACTS][: few // 2]
    chosen += train[WIKI][: max(0, max_documents - len(chosen))]
    rng.shuffle(chosen)
    return chosen, valid[: max(1, max_documents // 10)]


def _texts(records: Records) -> Iterator[tuple[str, str, str]]:
    for article in records.articles:
        yield WIKI, article.title, article.text
    for recipe in records.recipes:
        yield RECIPES, recipe.title, recipe_text(recipe)
    for fact in records.all_facts:
        yield FACTS, fact, fact


def _supply(
    records: Records, kind: Kind, split: str, users: Users, rng: random.Random
) -> Iterator[Demonstration]:
    """All demonstrations of one kind in one split, in random order."""
    items: list[Item] = [
        item
        for item in getattr(records, kind.records)
        if users.split_of[users.of(item.title)] == split
    ]
    for _ in range(GROUP_DRAWS if kind.maker is brainstorm else 1):
        rng.shuffle(items)
        for item in items:
            heldout_phrasing = split == "test" and rng.random() < 0.5
            example = kind.maker(item, Draw(rng, heldout_phrasing))
            if example is not None and acceptable(example):
                yield _demonstration(example, item, kind, heldout_phrasing, users)


def _demonstration(
    example: Example, item: Item, kind: Kind, heldout_phrasing: bool, users: Users
) -> Demonstration:
    title = item.title
    meta = {
        "task": example.task,
        "title": title,
        "heldout_entity": is_heldout(title),
        "heldout_phrasing": heldout_phrasing,
        "package": kind.package,
        "source": PACKAGES[kind.package].origin,
        "licence": PACKAGES[kind.package].licence,
    }
    return Demonstration(example.prompt, example.response, users.of(title), kind.use_case, meta)


def _take(supply: Iterator[Demonstration], count: int, seen: set[str]) -> Iterator[Demonstration]:
    """The next `count` demonstrations whose prompts have not been seen."""
    while count > 0 and (demonstration := next(supply, None)) is not None:
        key = text_of(demonstration.prompt)
        if key not in seen:
            seen.add(key)
            count -= 1
            yield demonstration


def _prompts(demonstrations: Sequence[Demonstration]) -> list[Prompt]:
    return [Prompt(d.prompt, d.user, d.use_case, d.meta) for d in demonstrations]
