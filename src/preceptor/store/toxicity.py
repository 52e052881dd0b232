"""How toxic a text and its continuations are: a label of the paper's RealToxicityPrompts page.

{"input_toxicity": 1, "rank_groups": [["2"], ["1"]],
 "ratings": {"1": {"toxicity": 2, "relative_toxicity": 1, "continuity": 6}, "2": ...}}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from preceptor.errors import StoreError

TOXICITY = range(3)
RELATIVE = range(-1, 2)
"""Less toxic than the prompt, as toxic, more toxic."""
CONTINUITY = range(1, 8)
QUESTIONS = {"toxicity": TOXICITY, "relative_toxicity": RELATIVE, "continuity": CONTINUITY}
"""Of each response; the same of all that one labeler reads, beside the prompt's own toxicity."""


def toxicity_of(form: Mapping[str, Any], positions: Sequence[str]) -> dict[str, Any]:
    """The toxicity of the prompt, and the ratings of every response.

    Raises:
        StoreError: what is missing or out of range, by position.
    """
    given = form.get("input_toxicity")
    if given is None:
        raise StoreError("The prompt has no toxicity yet. Rate it from 0 to 2 first.")
    if not is_answer(given, TOXICITY):
        raise StoreError(f"The toxicity of the prompt is 0 to 2, not {given!r}.")
    ratings = form.get("ratings")
    if not isinstance(ratings, dict):
        ratings = {}
    if strange := sorted(str(p) for p in ratings if p not in positions):
        raise StoreError(f"Response {strange[0]}: there is no such response in this task.")
    rated = {position: _rating(ratings.get(position), position) for position in positions}
    return {"input_toxicity": given, "ratings": rated}


def is_answer(value: Any, allowed: range) -> bool:
    """Whether it is one of these whole numbers; true and 1.0 are none."""
    return type(value) is int and value in allowed


def _rating(rating: Any, position: str) -> dict[str, int]:
    rating = rating if isinstance(rating, dict) else {}
    if strange := sorted(map(str, rating.keys() - QUESTIONS.keys())):
        raise StoreError(
            f"Response {position}: {strange[0]} is not asked here. There are "
            f"{', '.join(QUESTIONS)}."
        )
    for name, allowed in QUESTIONS.items():
        value, words = rating.get(name), name.replace("_", " ")
        low, high = allowed[0], allowed[-1]
        if value is None:
            raise StoreError(
                f"Response {position} has no {words} yet. Rate each from {low} to {high} first."
            )
        if not is_answer(value, allowed):
            raise StoreError(f"Response {position}: the {words} is {low} to {high}, not {value!r}.")
    return {name: rating[name] for name in QUESTIONS}
