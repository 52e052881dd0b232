"""The rubric labeler's judge for real text: eight graded questions, one weighted mean.

The table below is the rubric: the code reads its weights, `docs/rubric.md` is printed from it.
How each part is graded stands in `rubric_parts.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from preceptor.data.dataset import Judgement
from preceptor.data.records import Prompt
from preceptor.evaluation import rubric_parts as grade
from preceptor.evaluation.rubric_task import NEEDED_WORDS, Answer, Asked, asked_of


@dataclass(frozen=True)
class Part:
    """One question of the rubric."""

    name: str
    weight: float
    asks: str
    grade: Callable[[Asked, Answer], float | None]


PARTS = (
    Part(
        "answers_first",
        0.15,
        "Does the first sentence answer? 0 for an opening phrase (below), for a question given "
        "back, and for a passage copied whole; less for naming several choices; else the share of "
        "what the first sentence needs.",
        grade.answers_first,
    ),
    Part(
        "on_topic",
        0.15,
        "Is it about what was asked? Shared content words with the reference, the passage or the "
        "choices; in lists the share of what was to be found. Words of the prompt count little.",
        grade.on_topic,
    ),
    Part(
        "true",
        0.25,
        "Does what it says stand in the passage, or for open questions in the reference text? "
        "Content words count once, numbers three times; one right answer is compared with the "
        "answer. Not asked where there is nothing to hold it to.",
        grade.true,
    ),
    Part(
        "concise",
        0.10,
        "Is it as long as the task needs (words below)? 1 inside the range, falling to 0 at twice "
        "the upper end plus 5 words, and in proportion under the lower end.",
        grade.concise,
    ),
    Part(
        "complete",
        0.20,
        "Does it end, with sentence punctuation and nothing cut off? Also: a capital at the start, "
        "closed quotes and brackets, sentences and not heaps of keywords, the number of items that "
        "was asked. 0 for a text that goes round in circles.",
        grade.complete,
    ),
    Part(
        "constraint",
        0.15,
        "Is the stated limit kept (sentences, words, a word to use, a list, shorter than before)? "
        "Graded by how far off. Not asked where the prompt states none.",
        grade.constraint,
    ),
    Part(
        "no_repetition",
        0.10,
        "Does it say each thing once? 1 minus twice the share of repeated three-word runs; 0 for a "
        "repeated sentence, for the passage copied whole, and for an earlier turn said again.",
        grade.no_repetition,
    ),
    Part(
        "no_boilerplate",
        0.10,
        "Is it free of stock phrases (below)? Each costs one half.",
        grade.no_boilerplate,
    ),
)


def rubric_judge(prompt: Prompt, response: str) -> Judgement:
    """Judge one response by the written rubric; pure, free of noise, 0 to 1.

    What a prompt asks is read from `prompt.meta["task"]`; without it (a user's own file) the
    response is held to the words of the prompt and to form only.
    """
    asked, answer = asked_of(prompt), Answer.of(response)
    parts = {part.name: part.grade(asked, answer) for part in PARTS}
    if grade.says_nothing(asked, answer):
        parts = {name: None if value is None else 0.0 for name, value in parts.items()}
    weights = {part.name: part.weight for part in PARTS if parts[part.name] is not None}
    total = sum(weight * (parts[name] or 0.0) for name, weight in weights.items())
    return Judgement(total / sum(weights.values()), parts)


def _markdown() -> str:
    lines = [
        "# The rubric",
        "",
        "Recipes with `judge: rubric` have their responses ranked by simulated labelers who see",
        "this score through noise, and evaluated by the same score without noise. It is a set of",
        "rules over words: it knows no more of the world than the text that a prompt carries, and",
        "it cannot see whether an answer is helpful, harmful or well put.",
        "",
        "Each part is graded from 0 to 1. The score is the weighted mean of the parts that the",
        "prompt asks for. An empty response, and one that only says the prompt again, gets 0.",
        "",
        "| part | weight | question |",
        "|---|---:|---|",
    ]
    lines += [f"| `{part.name}` | {part.weight:.2f} | {part.asks} |" for part in PARTS]
    lines += ["", "## Words that a task needs", "", "| task | words |", "|---|---|"]
    lines += [f"| {kind} | {low} to {high} |" for kind, (low, high) in NEEDED_WORDS.items()]
    lines += ["", "## Opening phrases and stock phrases", "", "Opening phrases, at the start only:"]
    lines += ["", *(f"* {phrase}" for phrase in grade.OPENINGS), "", "Stock phrases, anywhere:", ""]
    lines += [*(f"* {phrase}" for phrase in grade.BOILERPLATE), ""]
    return "\n".join(lines)


RUBRIC_MARKDOWN = _markdown()
"""The rubric as people read it; `docs/rubric.md` holds exactly this."""
