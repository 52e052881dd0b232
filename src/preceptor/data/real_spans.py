"""What can be taken out of an article: a short definition, spans that answer a question, words."""

import random
import re

from preceptor.data.real_records import Article
from preceptor.data.wording import content_words


def facts_of(article: Article) -> str:
    """What an open answer is held to: the whole lead, not only the demonstrated sentence."""
    return f"{article.title}. {article.text[:900]} {article.description}"


def core_sentence(article: Article) -> str:
    """The definition without its side clauses; empty where the first sentence is none."""
    if not article.predicate:
        return ""
    subject = article.subject[0].upper() + article.subject[1:]
    return f"{subject} {article.verb} {article.predicate}."


def questions_on(article: Article, passage: str) -> list[tuple[str, str]]:
    """Questions that the passage answers, each with its span."""
    found = []
    bare = re.sub(r"\s*\([^)]*\)", "", passage)
    years = YEAR.findall(bare)
    if len(years) == 1 and not re.search(r"\d0s|BC", bare):
        found.append(("Which year is mentioned?", years[0]))
    made = _MADE.search(bare)
    if made and article.verb and not article.is_person:
        found.append((f"Who {_PAST[made[1]]} it?", made[2].strip(" .,")))
    place = _PLACE.search(bare)
    if place and article.topic == "Geography":
        found.append(("Where is it?", f"in {place[1]}"))
    people = _POPULATION.search(bare)
    if people and article.topic == "Geography":
        found.append(("How many people live there?", people[1].rstrip(".,")))
    if article.predicate and article.predicate in passage and 15 <= len(article.predicate) <= 90:
        wh = "Who" if article.is_person else "What"
        found.append((f"{wh} {article.verb} {article.subject}?", article.predicate))
    return found


YEAR = re.compile(r"(?<![\d,.$])(?:1\d{3}|20[0-2]\d)(?!\d|,\d)")
_MADE = re.compile(
    r"\b(written|directed|painted|composed|founded|designed|invented|discovered|developed) by "
    r"(?:the )?(?:[a-z-]+ ){0,3}"
    r"((?:[A-Z][\w'-]+|[A-Z]\.)(?: (?:van|de|von|da|[A-Z][\w'-]+|[A-Z]\.))+)"
)
_PLACE = re.compile(
    r" (?:located in|situated in|native to|lies in) ((?:the )?[A-Z][\w -]+?)(?=[,.;]| and| at| on)"
)
_POPULATION = re.compile(
    r"population of (?:about |over |around |approximately |more than )?([\d.,]+(?: million)?)"
)
_PAST = {
    "written": "wrote", "directed": "directed", "painted": "painted", "composed": "composed",
    "founded": "founded", "designed": "designed", "invented": "invented",
    "discovered": "discovered", "developed": "developed",
}  # fmt: skip


def unusual_word(text: str, article: Article, rng: random.Random) -> str | None:
    """A word of the text worth asking for: long, plain, and not part of the subject."""
    known = set(content_words(f"{article.title} {article.subject}"))
    plain = re.findall(r"(?<![\w-])[a-z]{5,11}(?![\w'-])", text)
    fit = [word for word in plain if (own := content_words(word)) and own[0] not in known]
    return rng.choice(fit) if fit else None
