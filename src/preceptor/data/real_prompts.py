"""Prompts with a demonstration each, by templates over real records; no model writes anything.

Every maker takes one record and gives an `Example`, or None when the record does not suit it.
What the rubric needs to judge any answer to the prompt stands in `Example.task`.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from preceptor.data.real_phrasings import PHRASINGS, TOPIC_NAMES
from preceptor.data.real_records import UNWANTED, Article, Fact, Group, Recipe, Trivia, Turn
from preceptor.data.real_spans import YEAR, core_sentence, facts_of, questions_on, unusual_word
from preceptor.data.records import Messages
from preceptor.data.sentences import leading_sentences
from preceptor.data.wording import content_words, words

MAX_PROMPT_CHARS = 330  # about 80 tokens of SmolLM2 with the template
MAX_RESPONSE_CHARS = 200  # about 45 tokens

Task = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """A prompt, the response that the record gives to it, and what answers are held to."""

    prompt: str | Messages
    response: str
    task: Task


@dataclass(frozen=True)
class Draw:
    """The choices that a maker is free to take."""

    rng: random.Random
    heldout_phrasing: bool = False

    def phrase(self, kind: str, **parts: object) -> str:
        return self.rng.choice(PHRASINGS[kind][self.heldout_phrasing]).format(**parts)


Maker = Callable[[Any, Draw], Example | None]


def define(article: Article, draw: Draw) -> Example | None:
    """Open QA: "What is a hat?" The first sentence answers."""
    answer = article.sentences[0]
    if not article.subject or len(answer) > MAX_RESPONSE_CHARS:
        return None
    wh = "who" if article.is_person else "what"
    prompt = draw.phrase(
        "definition", Wh=wh.capitalize(), wh=wh, verb=article.verb, subject=article.subject
    )
    prompt, constraint = _maybe_constrain(prompt, answer, draw)
    return _example(prompt, answer, "open_qa", reference=facts_of(article), constraint=constraint)


def ask_trivia(item: Trivia, draw: Draw) -> Example | None:
    """Open QA with one right answer."""
    question, answer = item.title, item.answer
    if not question.endswith("?") or len(answer) > 60:
        return None
    answer = answer if answer.endswith((".", "!")) else answer + "."
    prompt = draw.phrase("trivia", question=question[0].upper() + question[1:])
    return _example(prompt, answer, "trivia", answers=[answer.rstrip(".")], form="phrase")


def ask_passage(article: Article, draw: Draw) -> Example | None:
    """Closed QA: a short passage, and a question whose answer is a span of it."""
    passage = leading_sentences(article.text, 230, 2)
    options = questions_on(article, passage)
    if len(passage) < 80 or not options:
        return None
    question, answer = draw.rng.choice(options)
    prompt = draw.phrase("passage_question", passage=passage, question=question)
    response = answer[0].upper() + answer[1:] + "."
    return _example(prompt, response, "closed_qa", passage=passage, answers=[answer], form="phrase")


def write_text(article: Article, draw: Draw) -> Example | None:
    """Generation: a short text on a subject, sometimes under a constraint."""
    if not article.subject:
        return None
    kind = draw.rng.choice(("plain", "sentences", "word", "plain"))
    constraint: Task | None = None
    prompt = draw.phrase("text", subject=article.subject)
    answer = leading_sentences(article.text, MAX_RESPONSE_CHARS, 3)
    if len(answer) < 70:
        return None
    if kind == "sentences":
        count = min(2, sum(sentence in answer for sentence in article.sentences))
        answer = " ".join(article.sentences[:count])
        prompt += " Use one sentence." if count == 1 else " Use two sentences."
        constraint = {"kind": "sentences", "n": count}
    elif kind == "word":
        word = unusual_word(answer, article, draw.rng)
        if word is None:
            return None
        prompt += f' Use the word "{word}".'
        constraint = {"kind": "word", "word": word}
    return _example(
        prompt, answer, "generation", reference=facts_of(article), constraint=constraint
    )


def write_method(recipe: Recipe, draw: Draw) -> Example | None:
    """Generation: how to make a dish, for recipes that are short enough."""
    prompt = draw.phrase("method", dish=recipe.title)
    reference = f"{recipe.text} {', '.join(recipe.ingredients)}"
    if len(recipe.steps) < 2 or len(content_words(recipe.text)) < 12:
        return None
    if re.search(r"ingredients|above|below", recipe.text):
        return None
    return _example(prompt, recipe.text, "generation", reference=reference, form="method")


def write_needs(recipe: Recipe, draw: Draw) -> Example | None:
    """Generation: what is needed for a dish, as one sentence."""
    if not 3 <= len(recipe.names) <= 8 or len(recipe.names) < len(recipe.ingredients):
        return None
    prompt = draw.phrase("needs", dish=recipe.title)
    response = f"You need {_enumerate(recipe.names)}."
    return _example(prompt, response, "generation", entries=list(recipe.names), items=3)


def extract_ingredients(recipe: Recipe, draw: Draw) -> Example | None:
    """Extraction: the ingredients that the steps of a recipe name."""
    passage = leading_sentences(recipe.text, 240)
    stems = set(content_words(passage))
    named = [name for name in recipe.names if set(content_words(name)) <= stems]
    named.sort(key=lambda name: passage.lower().find(name.split()[-1][:4]))
    # All that the text names must be known, or a right answer would count as invented.
    rest = [name for name in (*recipe.names, *recipe.unnamed) if name not in named]
    if stems & set(content_words(" ".join(rest))) - set(content_words(" ".join(named))):
        return None
    if not 3 <= len(named) <= 7 or len(passage) < 60 or re.search(r"ingredients", passage):
        return None
    prompt = draw.phrase("ingredients", passage=passage)
    response = _enumerate(named).capitalize() + "."
    return _example(prompt, response, "extraction", passage=passage, entries=named, form="list")


def extract_years(article: Article, draw: Draw) -> Example | None:
    """Extraction: the years in a passage."""
    passage = leading_sentences(article.text, 240, 3)
    years = list(dict.fromkeys(YEAR.findall(passage)))
    if len(years) < 2 or re.search(r"\d(–|-)\d|\d0s|\bBC", passage):
        return None
    prompt = draw.phrase("years", passage=passage)
    return _example(
        prompt, _enumerate(years) + ".", "extraction", passage=passage, entries=years, form="list"
    )


def classify(article: Article, draw: Draw) -> Example | None:
    """Classification: which of four topics a passage has."""
    if article.topic not in TOPIC_NAMES:
        return None
    passage = leading_sentences(article.text, 190, 2)
    right = TOPIC_NAMES[article.topic]
    others = [name for name in TOPIC_NAMES.values() if name not in (right, "people")]
    choices = draw.rng.sample(others, 3)
    choices.insert(draw.rng.randrange(4), right)
    listed = ", ".join(choices[:-1]) + " or " + choices[-1]
    prompt = draw.phrase("classify", passage=passage, choices=listed)
    return (
        _example(
            prompt,
            right.capitalize() + ".",
            "classification",
            passage=passage,
            answers=[right],
            choices=choices,
            form="phrase",
        )
        if passage
        else None
    )


def summarize(article: Article, draw: Draw) -> Example | None:
    """Summarization: two or three sentences in one."""
    passage = leading_sentences(article.text, 260, 3)
    if not article.predicate or len(passage) < len(article.sentences[0]) + 30:
        return None
    return _example(
        draw.phrase("summary", passage=passage),
        core_sentence(article),
        "summarization",
        passage=passage,
        reference=core_sentence(article),
        constraint={"kind": "sentences", "n": 1},
    )


def caption(article: Article, draw: Draw) -> Example | None:
    """Summarization in a few words: the article's own description."""
    passage = leading_sentences(article.text, 230, 2)
    length = len(words(article.description))
    known = set(content_words(passage))
    told = content_words(article.description)
    if not 3 <= length <= 10 or not told or len(passage) < 80:
        return None
    if sum(word in known for word in told) < 0.99 * len(told):
        return None
    n = -(-(length + 1) // 5) * 5
    prompt = draw.phrase("caption", passage=passage, n=n, title=article.title)
    return _example(
        prompt,
        article.description.rstrip(".") + ".",
        "summarization",
        passage=passage,
        reference=article.description,
        constraint={"kind": "max_words", "n": n},
        form="phrase",
    )


def shorten(article: Article, draw: Draw) -> Example | None:
    """Rewriting: one long sentence, shorter."""
    passage, response = article.sentences[0], core_sentence(article)
    if not response or len(response) > 0.8 * len(passage) or len(passage) > 250:
        return None
    prompt = draw.phrase("shorten", passage=passage)
    limit = {"kind": "shorter", "n": len(words(passage))}
    return _example(
        prompt, response, "rewriting", passage=passage, reference=response, constraint=limit
    )


def rewrite_person(article: Article, draw: Draw) -> Example | None:
    """Rewriting: an entry of a biographical list as a sentence."""
    match = re.fullmatch(r"([^()]+) \((\d{3,4})[–-](\d{3,4})\)", article.description)
    if match is None or article.topic != "People":
        return None
    what = match[1] if re.match(r"[A-Z]\w*(an|ish|ese|ch|ic|i|U\.S\.)\b", match[1]) else ""
    if not what:
        return None
    article_word = "an" if what[0] in "AEIOU" and not what.startswith(("Eu", "Uni")) else "a"
    response = f"{article.title} was {article_word} {what} who lived from {match[2]} to {match[3]}."
    passage = f"{article.title}, {article.description}"
    prompt = draw.phrase("person", name=article.title, description=article.description)
    return _example(prompt, response, "rewriting", passage=passage, reference=response)


def rewrite_basket(recipe: Recipe, draw: Draw) -> Example | None:
    """Rewriting: a list as a sentence."""
    names = recipe.names[:6]
    if len(names) < 3:
        return None
    entries = draw.rng.choice((", ", "\n- ")).join(("", *names)).lstrip(", ")
    prompt = draw.phrase("basket", entries=entries)
    response = f"You need {_enumerate(names)}."
    passage = "You need " + ", ".join(names)
    return _example(prompt, response, "rewriting", passage=passage, reference=", ".join(names))


def brainstorm(group: Group, draw: Draw) -> Example | None:
    """Brainstorming: so many things of a kind, sometimes as a list."""
    n = draw.rng.choice((2, 3, 3, 4))
    number = ("two", "three", "four")[n - 2]
    if group.is_dish:
        prompt = draw.phrase("dishes", number=number, item=group.title)
    else:
        prompt = draw.phrase("members", number=number, group=group.title)
    picks = draw.rng.sample(group.members, n)
    if draw.rng.random() < 0.4:
        prompt += f" Answer as a list of {number} items."
        response = "\n".join(f"- {pick}" for pick in picks)
        constraint: Task | None = {"kind": "list", "n": n}
    else:
        response, constraint = _enumerate(picks) + ".", None
    # Dishes exist that no list here has, so they are held to the topic only.
    entries = (
        {"keywords": _dish_words(group)} if group.is_dish else {"entries": list(group.members)}
    )
    return _example(
        prompt, response, "brainstorming", items=n, constraint=constraint, form="list", **entries
    )


def follow_up(article: Article, draw: Draw) -> Example | None:
    """Chat: a conversation about an article goes on with its next sentence."""
    if not article.subject or len(article.sentences) < 2:
        return None
    first, second = article.sentences[:2]
    if len(first) > 170 or len(second) > MAX_RESPONSE_CHARS:
        return None
    wh = "Who" if article.is_person else "What"
    prompt = [
        {"role": "user", "content": f"{wh} {article.verb} {article.subject}?"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": draw.phrase("more")},
    ]
    return _example(prompt, second, "chat", reference=facts_of(article))


def reply(turn: Turn, draw: Draw) -> Example | None:
    """Chat: a polite turn, or a small trouble with a computer."""
    answer = draw.rng.choice(turn.replies)
    answer = answer if answer.endswith((".", "!", "?")) else answer + "."
    return _example(turn.title, answer, "chat", answers=list(turn.replies), form="phrase")


def tell_fact(fact: Fact, draw: Draw) -> Example | None:
    """Other: a curious fact."""
    prompt = draw.phrase("fact", topic=fact.topic)
    return _example(prompt, fact.title, "other", keywords=content_words(fact.topic))


def acceptable(example: Example) -> bool:
    """Short enough for two cores, and nothing that a small assistant should not say."""
    prompt = example.prompt
    said = prompt if isinstance(prompt, str) else " ".join(t["content"] for t in prompt)
    if len(said) > MAX_PROMPT_CHARS or len(example.response) > MAX_RESPONSE_CHARS:
        return False
    return not UNWANTED.search(f"{said} {example.response}")


def _example(
    prompt: str | Messages, response: str, kind: str, *, form: str = "sentence", **task: Any
) -> Example:
    held_to = {key: value for key, value in task.items() if value is not None}
    return Example(prompt, response, {"kind": kind, "form": form} | held_to)


def _maybe_constrain(prompt: str, answer: str, draw: Draw) -> tuple[str, Task | None]:
    """Every third question gets a limit that the answer keeps."""
    choice = draw.rng.random()
    if choice < 0.18:
        return f"{prompt} Answer in one sentence.", {"kind": "sentences", "n": 1}
    if choice < 0.34:
        n = -(-(len(words(answer)) + 1) // 5) * 5
        return f"{prompt} Use at most {n} words.", {"kind": "max_words", "n": n}
    return prompt, None


def _dish_words(group: Group) -> list[str]:
    found = content_words(group.title + " " + " ".join(group.members))
    return list(dict.fromkeys(found))[:250]


def _enumerate(items: Sequence[str]) -> str:
    if len(items) < 3:
        return " and ".join(items)
    return ", ".join(items[:-1]) + ", and " + items[-1]
