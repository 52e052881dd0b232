"""How each part of the rubric is graded: (what was asked, what was answered) -> 0..1 or None."""

import re
from collections.abc import Collection, Sequence

from preceptor.data.wording import FUNCTION_WORDS, content_words, stem, word_set, words
from preceptor.evaluation.measures import ngrams, repetition
from preceptor.evaluation.rubric_task import BULLET, Answer, Asked

OPENINGS = (
    "sure", "certainly", "of course", "absolutely", "great question", "good question",
    "thank you for", "thanks for", "here is", "here are", "here's", "as an ai", "i'm sorry",
    "i am sorry", "i apologize", "i'm happy to", "i'd be happy to", "i would be happy to",
    "i'm glad", "the answer is", "the text says", "the passage", "the following", "in conclusion",
    "let me", "okay", "well,",
)  # fmt: skip
BOILERPLATE = (
    "as an ai", "language model", "i hope this helps", "i hope that helps", "let me know if",
    "feel free to", "do not hesitate", "don't hesitate", "happy to help", "glad to help",
    "how can i help you", "how can i assist you", "great question", "it is important to note",
    "it's important to note", "in conclusion", "in summary", "please note", "here is", "here are",
    "here's", "i'm sorry", "i apologize",
)  # fmt: skip

FEW_FUNCTION_WORDS = 0.1  # running English has about 0.4; a heap of keywords has none
OPEN_KINDS = ("open_qa", "generation", "chat", "other", "any")
ENDED = re.compile(r"[.!?][\"')\]]*$")
DANGLING = word_set(
    "the a an of in to by for with from as at on or and that which is are was were its"
)


def says_nothing(asked: Asked, answer: Answer) -> bool:
    """Whether the response is empty or only the prompt again."""
    if not answer.words:
        return True
    nothing_new = set(answer.words) <= set(words(asked.prompt_text))
    if nothing_new and asked.kind in OPEN_KINDS and not asked.answers:
        return True
    return _covered(words(asked.prompt_text), answer.words) > 0.8


def answers_first(asked: Asked, answer: Answer) -> float:
    """Whether the first sentence holds an answer and nothing stands before it."""
    if not answer.sentences:
        return 0.0
    first = answer.sentences[0]
    if _opens_with_phrase(first) or _copies_passage(asked, answer):
        return 0.0
    if first.endswith("?") and asked.kind not in ("chat", "any"):
        return 0.0
    if asked.kind == "chat" and asked.answers:
        return 1.0
    stems = set(content_words(first))
    if asked.choices:
        return min(_share_of_one_choice(asked, answer), _best_recall(asked.answers, stems))
    if asked.answers:
        return _sentence_like(asked, words(first)) * min(
            1.0, _best_recall(asked.answers, stems) / 0.6
        )
    if asked.form == "list":
        items = Answer.of(first).short_items
        return 1.0 if any(set(content_words(item)) & asked.targets for item in items) else 0.0
    needed = min(2, max(1, len(asked.targets)))
    return _sentence_like(asked, words(first)) * min(1.0, len(stems & asked.targets) / needed)


def on_topic(asked: Asked, answer: Answer) -> float:
    """Whether the response is about what was asked."""
    stems = set(answer.stems)
    if asked.choices:
        return 1.0 if any(_names(answer, choice) for choice in asked.choices) else 0.0
    if asked.kind == "chat" and asked.answers:
        return _reply_likeness(asked, answer)
    if asked.answers and asked.passage:
        known = set(content_words(asked.passage)) | set(content_words(asked.answers[0]))
        return min(1.0, 2 * _share(answer.stems, known))
    if asked.answers:
        right = _best_recall(asked.answers, stems)
        return max(right, 0.4 if stems - asked.prompt_stems else 0.0)
    if asked.entries:
        needed = asked.items or len(asked.entries)
        return min(1.0, len(_found_entries(asked, answer)) / needed)
    if asked.form == "list":
        near = [item for item in answer.short_items if set(content_words(item)) & asked.keywords]
        return min(1.0, len(near) / (asked.items or 1))
    if asked.passage:
        return min(1.0, len(stems & asked.targets) / min(3, max(1, len(asked.targets))))
    if asked.keywords:
        told = len(stems - asked.keywords - asked.prompt_stems)
        return (0.4 + 0.6 * bool(stems & asked.keywords)) * min(1.0, told / 3)
    new = stems - asked.prompt_stems
    if not new:
        return 0.0
    if asked.kind == "any" and not asked.reference:
        return min(1.0, len(stems & asked.prompt_stems) / 2)
    return min(1.0, 0.4 * bool(stems & asked.prompt_stems) + 0.2 * len(new & asked.targets))


def true(asked: Asked, answer: Answer) -> float | None:
    """Whether what the response says stands in what it is held to; None for nothing to hold to."""
    stems = set(answer.stems)
    if asked.choices:
        named = [choice for choice in asked.choices if _names(answer, choice)]
        if not any(choice in asked.answers for choice in named):
            return 0.0
        return _share_of_one_choice(asked, answer)
    if asked.kind == "chat" and asked.answers:
        return None
    if asked.answers:
        right = min(1.0, _best_recall(asked.answers, stems) / 0.6)
        return right if not asked.passage else min(right, _support(asked, answer))
    if asked.entries:
        return _precision(asked, answer)
    if asked.passage:
        kept = 1.0
        if asked.kind == "rewriting":
            kept = min(1.0, _share(sorted(asked.targets), stems) / 0.7)
        return min(kept, _support(asked, answer))
    if asked.reference:
        return _support(asked, answer)
    return None


def concise(asked: Asked, answer: Answer) -> float:
    """Whether the response is as long as the task needs."""
    low, high = asked.needed_words
    count = len(answer.words)
    if count < low:
        return count / low
    return max(0.0, min(1.0, 1 - (count - high) / (high + 5)))


def complete(asked: Asked, answer: Answer) -> float:
    """Whether the response is a finished piece of its form."""
    text = answer.text
    if not answer.words:
        return 0.0
    is_list = bool(BULLET.match(text.split("\n")[-1]))
    ended = ENDED.search(text) is not None
    if answer.words[-1] in DANGLING or text.endswith((",", ";", ":", "-")):
        value = 0.0
    elif ended or is_list:
        value = 1.0
    else:
        value = 0.6 if asked.form in ("phrase", "list") else 0.2
    if text[0].islower():
        value *= 0.8
    if text.count("(") != text.count(")") or text.count('"') % 2:
        value *= 0.7
    if repetition(text) > 0.5:
        value = 0.0
    value *= _sentence_like(asked, answer.words)
    if asked.form == "sentence":
        value *= min(1.0, len(answer.words) / 4)
    if asked.items and asked.form == "list":
        value *= max(0.0, 1 - abs(len(answer.short_items) - asked.items) / asked.items)
    return value


def constraint(asked: Asked, answer: Answer) -> float | None:
    """Whether the stated limit is kept, by how far off it is; None where none is stated."""
    limit = asked.constraint
    if limit is None:
        return None
    if not answer.words:
        return 0.0
    if limit["kind"] == "word":
        word = str(limit["word"]).casefold()
        return 1.0 if word in answer.words else 0.5 if stem(word) in answer.stems else 0.0
    n = int(limit["n"])
    if limit["kind"] == "max_words":
        return max(0.0, min(1.0, 1 - (len(answer.words) - n) / n))
    if limit["kind"] == "shorter":  # than n words, by 15 % at least
        return max(0.0, min(1.0, (n - len(answer.words)) / (0.15 * n)))
    if limit["kind"] == "sentences":
        whole = 1.0 if ENDED.search(answer.text) else 0.5  # half a sentence is none
        return whole * max(0.0, 1 - abs(len(answer.sentences) - n) / n)
    lines = [line for line in answer.text.split("\n") if line.strip()]
    listed = sum(bool(BULLET.match(line)) for line in lines)
    return max(0.0, 1 - abs(listed - n) / n) * (1.0 if listed == len(lines) else 0.7)


def no_repetition(asked: Asked, answer: Answer) -> float:
    """Whether each thing is said once, and not only copied."""
    if not answer.words or _copies_passage(asked, answer):
        return 0.0
    sentences = [" ".join(words(sentence)) for sentence in answer.sentences]
    if len(set(sentences)) < len(sentences):
        return 0.0
    if any(_covered(answer.words, words(turn)) > 0.7 for turn in asked.earlier_turns):
        return 0.0
    stuck = sum(len(set(run)) == 1 for run in ngrams(answer.words, 3))
    return max(0.0, 1 - 2 * repetition(answer.text) - 0.5 * stuck)


def no_boilerplate(asked: Asked, answer: Answer) -> float:
    """Whether the response is free of stock phrases."""
    if not answer.words:
        return 0.0
    text = answer.text.casefold().replace("’", "'")
    found = sum(re.search(rf"\b{re.escape(phrase)}\b", text) is not None for phrase in BOILERPLATE)
    return max(0.0, 1 - 0.5 * found)


def _opens_with_phrase(sentence: str) -> bool:
    start = sentence.casefold().replace("’", "'")
    return any(re.match(rf"{re.escape(phrase)}(\W|$)", start) for phrase in OPENINGS)


def _copies_passage(asked: Asked, answer: Answer) -> bool:
    return bool(asked.passage) and _covered(words(asked.passage), answer.words) > 0.95


def _covered(source: Sequence[str], text: Sequence[str]) -> float:
    """Share of the source's three-word runs (words, if it is shorter) that the text has too."""
    n = 3 if len(source) >= 3 else 1
    runs = ngrams(source, n)
    found = set(ngrams(text, n))
    return sum(run in found for run in runs) / len(runs) if runs else 0.0


def _sentence_like(asked: Asked, found: Sequence[str]) -> float:
    """1 for running words, down to 0 for a heap of keywords; short phrases and lists may be one."""
    if asked.form in ("list", "method") or (asked.form == "phrase" and len(found) <= 6):
        return 1.0
    share = sum(word in FUNCTION_WORDS for word in found) / len(found) if found else 0.0
    return min(1.0, share / FEW_FUNCTION_WORDS)


def _share_of_one_choice(asked: Asked, answer: Answer) -> float:
    """Naming several of the choices is hardly choosing."""
    return 1.0 if sum(_names(answer, choice) for choice in asked.choices) == 1 else 0.3


def _share(stems: Collection[str], known: Collection[str]) -> float:
    return sum(one in known for one in stems) / len(stems) if stems else 0.0


def _support(asked: Asked, answer: Answer) -> float:
    """Share of the response's content that its source has, numbers three times; graded to 1.

    A passage must cover 90 %, a reference text for an open question 80 %, since true things can
    be said in other words. There the prompt's own words prove nothing.
    """
    is_open = not asked.passage
    source = content_words(asked.passage or asked.reference)
    known = set(source) | (set() if is_open else asked.prompt_stems)
    told = [s for s in answer.stems if not (is_open and s in asked.prompt_stems)]
    if not told:
        return 0.0
    weights = [3.0 if s[0].isdigit() else 1.0 for s in told]
    share = sum(w for s, w in zip(told, weights, strict=True) if s in known) / sum(weights)
    if is_open:
        return max(0.0, min(1.0, (share - 0.2) / 0.6)) * min(1.0, len(told) / 2)
    return max(0.0, min(1.0, (share - 0.4) / 0.5))


def _best_recall(answers: Sequence[str], stems: Collection[str]) -> float:
    """Share of the best fitting answer's content that is said."""
    return max(_share(content_words(answer) or words(answer), stems) for answer in answers)


def _names(answer: Answer, choice: str) -> bool:
    """Whether a choice is named: all its words, or the first of "biology and health"."""
    wanted = content_words(choice)
    return bool(wanted) and set(wanted) <= set(answer.stems)


def _reply_likeness(asked: Asked, answer: Answer) -> float:
    """Small talk has many right replies: half for any reply, the rest for likeness to one."""
    likeness = max(_covered(words(reply), answer.words) for reply in asked.answers)
    overlap = max(_share(words(reply), answer.words) for reply in asked.answers)
    return 0.5 + 0.5 * max(likeness, overlap)


def _found_entries(asked: Asked, answer: Answer) -> set[str]:
    """The entries that the response lists; an entry is found when an item has all its words."""
    items = [set(content_words(item)) for item in answer.items]
    return {e for e in asked.entries if any(set(content_words(e)) <= item for item in items)}


def _precision(asked: Asked, answer: Answer) -> float:
    """Share of the listed items that are among the entries; an item may add words to an entry."""
    entries = [set(content_words(entry)) for entry in asked.entries]
    items = [stems for item in answer.items if (stems := set(content_words(item)))]
    if not items:
        return 0.0
    right = sum(any(e <= item or (item <= e and len(item) > 0) for e in entries) for item in items)
    return right / len(items)
