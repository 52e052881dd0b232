"""Records made of several records: things of one kind, dishes with one ingredient, fact topics."""

import re
from collections import Counter
from collections.abc import Sequence

from preceptor.data.real_records import UNWANTED, Article, Fact, Group, Recipe
from preceptor.data.wording import word_set

MIN_MEMBERS = 4
# Taxa have few members that a person would name.
_TAXA = re.compile(r"^(Family|Genus|Order|Class|Clade|Super\w+|Sub\w+|Phylum|Species) of|Indo-Ary")
_ODD = re.compile(r" and |^Metropolis|^Romance|s$")
_SKIPPED_INGREDIENTS = word_set("salt water pepper oil sugar flour sauce fresh sweet")

TOPICS = word_set(
    """cats dogs horses cows pigs elephants giraffes lions tigers bears wolves foxes rabbits mice
    rats bats whales dolphins sharks fish octopuses frogs snakes turtles crocodiles birds
    penguins owls ducks chickens ostriches bees ants spiders butterflies mosquitoes snails
    worms camels monkeys gorillas koalas kangaroos pandas hippos squirrels trees flowers
    bananas apples tomatoes potatoes carrots onions strawberries chocolate coffee tea honey
    cheese bread rice pizza eggs milk water ice snow rain lightning volcanoes earthquakes
    oceans rivers mountains deserts stars planets books movies music pianos guitars violins
    cars trains airplanes bicycles ships bridges clocks coins stamps paper pencils glass gold
    silver diamonds salt hair eyes teeth bones fingers hearts brains babies dreams letters
    words numbers golf football baseball basketball tennis chess London Paris Rome Egypt China
    Japan India Russia Canada Australia Brazil Mexico Italy France Germany Spain England
    Scotland Ireland Alaska Texas California Florida Hawaii Antarctica Africa Mars Jupiter
    Saturn Venus"""
)


def article_groups(articles: Sequence[Article]) -> list[Group]:
    """Articles with one description: "French painters", "countries in East Asia"."""
    lower_case = _lower_case_words(articles)
    kinds: dict[str, set[str]] = {}
    for article in articles:
        kind = re.sub(r"\s*\([^)]*\)", "", article.description).strip()
        odd = UNWANTED.search(article.title) or " and " in article.title
        if kind and not odd and not _TAXA.search(kind) and not _ODD.search(kind):
            kinds.setdefault(_plural(kind, lower_case), set()).add(article.title)
    return _large(kinds, is_dish=False)


def dish_groups(recipes: Sequence[Recipe]) -> list[Group]:
    """Dishes with one ingredient in common."""
    dishes: dict[str, set[str]] = {}
    for recipe in recipes:
        for name in recipe.names:
            if name not in _SKIPPED_INGREDIENTS and _is_plain(recipe.title):
                dishes.setdefault(name, set()).add(recipe.title)
    return _large(dishes, is_dish=True)


def _is_plain(title: str) -> bool:
    """Whether a title can stand in an enumeration."""
    return len(title) < 35 and " and " not in title and "," not in title


def _large(groups: dict[str, set[str]], *, is_dish: bool) -> list[Group]:
    found = [Group(name, tuple(sorted(own)), is_dish) for name, own in sorted(groups.items())]
    return [group for group in found if len(group.members) >= MIN_MEMBERS]


def fact_topics(facts: Sequence[str]) -> list[Fact]:
    """A topic for those facts that begin with, or soon name, a well-known topic."""
    forms = {form: topic for topic in sorted(TOPICS) for form in (topic, _singular(topic))}
    found = []
    for fact in facts:
        for word in re.findall(r"[A-Za-z]+", fact)[:8]:
            topic = forms.get(word) or forms.get(word.lower())
            if topic is not None and len(fact) > 30:
                found.append(Fact(fact, topic))
                break
    return found


def _singular(topic: str) -> str:
    irregular = {"mice": "mouse", "wolves": "wolf", "teeth": "tooth", "babies": "baby"}
    if topic in irregular:
        return irregular[topic]
    if topic.endswith(("oes", "xes", "ches")):
        return topic[:-2]
    return topic[:-1] if topic.endswith("s") and not topic.endswith("ss") else topic


def _lower_case_words(articles: Sequence[Article]) -> set[str]:
    counts = Counter(w for article in articles for w in re.findall(r"\b[a-z]+\b", article.text))
    return {word for word, count in counts.items() if count > 2}


def _plural(kind: str, lower_case: set[str]) -> str:
    """ "Branch of mathematics" becomes "branches of mathematics"."""
    first, *others = kind.split()
    if first.lower() in lower_case:
        first = first.lower()
    text = " ".join([first, *others])
    match = re.search(r" (in|of|from|by|with|within|that|and) ", text)
    head, tail = (text[: match.start()], text[match.start() :]) if match else (text, "")
    *before, noun = head.split()
    if noun.endswith("y") and noun[-2] not in "aeou":
        plural = noun[:-1] + "ies"
    else:
        plural = noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")
    return " ".join([*before, plural]) + tail
