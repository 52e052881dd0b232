"""Real data, from records of our own making and, where they are cached, from the packages."""

import re
from typing import Any

import pytest

from preceptor.data import real
from preceptor.data.dataset import Dataset
from preceptor.data.packages import cached_package
from preceptor.data.real_groups import article_groups, dish_groups, fact_topics
from preceptor.data.real_phrasings import PHRASINGS
from preceptor.data.real_prompts import MAX_PROMPT_CHARS, MAX_RESPONSE_CHARS
from preceptor.data.real_records import (
    Trivia,
    Turn,
    ingredient_name,
    parse_article,
    parse_recipe,
)
from preceptor.data.records import Demonstration, Prompt, text_of
from preceptor.data.wording import words
from preceptor.errors import DataError
from preceptor.evaluation.rubric import rubric_judge

SIZES: dict[str, Any] = {
    "num_demonstrations": 60, "num_reward_prompts": 60, "num_reward_valid_prompts": 20,
    "num_ppo_prompts": 60, "num_valid_prompts": 20, "num_test_prompts": 60,
    "max_corpus_documents": 300,
}  # fmt: skip
SPLITS = (
    "demonstrations_train", "demonstrations_valid", "prompts_reward_train", "prompts_reward_valid",
    "prompts_ppo", "prompts_valid", "prompts_test",
)  # fmt: skip
PLACES = ("northern", "southern", "eastern", "western")


def invented_records() -> real.Records:
    """A few hundred records about things that do not exist."""
    articles = []
    for number in range(600):
        name = "".join("bcdfglmnrstv"[number // 12**i % 12] + "aeio"[i] for i in range(3)).title()
        kind, topic = (("river", "Geography"), ("metal", "Physical sciences"))[number % 2]
        text = (
            f"{name} is a {PLACES[number % 4]} {kind} of great length, which few people have seen. "
            f"It was found in {1800 + number % 90} and measured again in {1900 + number % 90}. "
            "Many stories are told about the colors of its surface."
        )
        row = {"title": name, "extract": text, "description": f"Kind of {kind}", "topic": topic}
        articles.append(parse_article(row))
    recipes = [
        parse_recipe(
            {
                "title": f"Dish Number {'abcdefghij'[n % 10]}{'abcdefghij'[n // 10]}",
                "ingredients": ["2 cups rice", "1 tbsp honey, warmed", f"{n} red onions", "salt"],
                "steps": ["Boil the rice with salt.", "Fry the red onions, then add the honey."],
            }
        )
        for n in range(100)
    ]
    facts = [f"A cat of kind {n} sleeps for {n} hours of every long day." for n in range(100)]
    trivia = [Trivia(f"Which city has {n} towers?", f"Towertown {n}") for n in range(60)]
    talk = [Turn(f"Hello number {n}!", ("Nice to meet you too.",)) for n in range(20)]
    found, dishes = [a for a in articles if a], [r for r in recipes if r]
    assert len(found) == 600 and len(dishes) == 100
    return real.Records(
        found, dishes, fact_topics(facts), trivia, talk,
        article_groups(found), dish_groups(dishes), facts,
    )  # fmt: skip


@pytest.fixture(scope="module")
def invented() -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        records = invented_records()
        patch.setattr(real, "read_all", lambda: records)
        return real.make_real(seed=0, **SIZES)


@pytest.fixture(scope="module")
def packaged() -> Dataset:
    for name in (real.WIKI, real.RECIPES, real.FACTS, real.CHAT):
        if cached_package(name) is None:
            pytest.skip(f"package {name} is not in the cache")
    sizes = SIZES | {"num_demonstrations": 500, "num_test_prompts": 300}
    return real.make_real(seed=0, **sizes)


def test_sizes_are_kept(invented: Dataset):
    assert [len(getattr(invented, name)) for name in SPLITS] == [60, 6, 60, 20, 60, 20, 60]


def test_no_title_and_no_user_is_in_two_splits(invented: Dataset):
    for key in (lambda p: p.meta["title"], lambda p: p.user, lambda p: text_of(p.prompt)):
        sets = [{key(item) for item in getattr(invented, name)} for name in SPLITS]
        assert sum(map(len, sets)) == len(set.union(*sets))


def test_held_out_titles_are_in_no_training_text_and_no_training_prompt(invented: Dataset):
    test = {p.meta["title"] for p in invented.prompts_test if p.meta["heldout_entity"]}
    assert test
    trained = {d.meta["title"] for d in invented.corpus_train}
    trained |= {p.meta["title"] for name in SPLITS[:-1] for p in getattr(invented, name)}
    assert not test & trained
    assert not {d.meta["title"] for d in invented.corpus_valid} & trained


def test_held_out_phrasings_are_asked_in_the_test_only(invented: Dataset):
    marks = {name: {p.meta["heldout_phrasing"] for p in getattr(invented, name)} for name in SPLITS}
    assert marks.pop("prompts_test") == {True, False}
    assert set.union(*marks.values()) == {False}


def test_phrasings_to_learn_and_to_test_differ():
    for kind, (learned, tested) in PHRASINGS.items():
        assert learned and tested and not set(learned) & set(tested), kind


def test_the_same_seed_gives_the_same_data_and_another_does_not(
    invented: Dataset, monkeypatch: pytest.MonkeyPatch
):
    records = invented_records()
    monkeypatch.setattr(real, "read_all", lambda: records)
    assert real.make_real(seed=0, **SIZES) == invented
    assert real.make_real(seed=1, **SIZES).prompts_test != invented.prompts_test


def test_too_much_asked_is_an_error_with_both_numbers(monkeypatch: pytest.MonkeyPatch):
    records = invented_records()
    monkeypatch.setattr(real, "read_all", lambda: records)
    with pytest.raises(DataError, match="100000 are asked for"):
        real.make_real(seed=0, **(SIZES | {"num_ppo_prompts": 100_000}))


def test_every_record_has_source_and_licence(invented: Dataset):
    for item in (*invented.demonstrations_train, *invented.prompts_ppo):
        assert item.meta["source"] and item.meta["licence"] and item.meta["package"]


def test_attribution_names_every_package_used(invented: Dataset):
    used = {p.meta["package"] for name in SPLITS for p in getattr(invented, name)}
    used |= {d.source for d in invented.corpus_train}
    for name in used:
        pin = real.PACKAGES[name]
        section = invented.attribution.split(f"## {name} ")[1].split("##")[0]
        assert re.search(r"`[0-9a-f]{64}`", section)
        assert pin.licence in section and pin.licence_url in section
        assert re.search(r"records used: \d+", section)


def test_a_formula_that_was_lost_drops_the_article():
    row = {"title": "Field", "extract": "A field  is a set with  elements. " * 3,
           "description": "", "topic": "Mathematics"}  # fmt: skip
    assert parse_article(row) is None


@pytest.mark.parametrize(
    "line, name",
    [("1½ cups (360 ml) all-purpose flour, sifted", "all-purpose flour"),
     ("2 cloves garlic, crushed", "garlic"), ("Salt to taste", "salt"),
     ("400g tin of chopped tomatoes", "tomatoes"), ("3 fresh", "")],
)  # fmt: skip
def test_ingredient_names_are_plain(line: str, name: str):
    assert ingredient_name(line) == name


def test_definitions_are_taken_apart():
    row = {
        "title": "Tomato",
        "extract": "The tomato is a plant of warm lands, which bears red fruit. It is eaten raw.",
        "description": "Edible berry",
        "topic": "Biology and health sciences",
    }
    article = parse_article(row)
    assert article is not None
    assert (article.subject, article.verb) == ("the tomato", "is")
    assert article.predicate == "a plant of warm lands"


def test_packages_give_short_clean_prompts(packaged: Dataset):
    for item in packaged.demonstrations_train:
        assert len(text_of(item.prompt)) <= MAX_PROMPT_CHARS + 40  # roles of a conversation
        assert len(words(item.response)) >= 1 and len(item.response) <= MAX_RESPONSE_CHARS
        assert not re.search(r"  |\( |\(\)", text_of(item.prompt) + item.response)
    assert len({d.use_case for d in packaged.demonstrations_train}) == 10


def test_packages_give_tasks_with_one_right_choice_of_four(packaged: Dataset):
    assert len(packaged.tasks) == 2
    for items in packaged.tasks.values():
        assert len(items) == 60
        for item in items:
            assert len(set(item.choices)) == len(item.choices) == 4
            assert 0 <= item.answer < 4
        assert len({item.answer for item in items}) == 4


def test_references_from_packages_satisfy_the_rubric(packaged: Dataset):
    scores = sorted(
        rubric_judge(_prompt(d), d.response).score for d in packaged.demonstrations_train
    )
    assert sum(scores) / len(scores) >= 0.85
    assert scores[len(scores) // 20] >= 0.6


def _prompt(item: Demonstration) -> Prompt:
    return Prompt(item.prompt, item.user, item.use_case, item.meta)
