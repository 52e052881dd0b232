"""What a labeler may send: the forms of each task type, checked and split into choices and texts.

A form speaks of positions "1".."K" as the labeler sees them; the store keeps slots "A".."I". Which
flags and prompt labels there are, the project says (preceptor.store.questions).

    demonstration  {"response": "...", "prompt_labels": {"ambiguous": false}}
    ranking        {"ratings": {"1": {"likert": 5, "flags": {"hallucination": true}}, ...},
                    "rank_groups": [["2"], ["1", "4"], ["3"]], "unacceptable": ["3"]}
    evaluation     the same, under the guideline for evaluations
    evaluation_ab  {"choice": "1" | "2" | "tie" | "both_bad", "confidence": 7, "ratings": {}}: kept
                    as a ranking of two, both bad as both unacceptable
    toxicity       as preceptor.store.toxicity has it: no flags, nothing unacceptable
    prompt_plain   {"prompt": "...", "use_case": "rewriting"}; prompt_user_based the same
    prompt_few_shot  {"instruction": "...", "pairs": [{"query": "...", "response": "..."}, ...],
                    "use_case": "classification"}
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from preceptor.data.records import MOST_NESTED
from preceptor.errors import StoreError
from preceptor.store.questions import Questions
from preceptor.store.toxicity import is_answer, toxicity_of

PROMPT_TYPES = ("prompt_plain", "prompt_few_shot", "prompt_user_based")
"""Labelers write prompts: how the first ones came about (InstructGPT section 3.2)."""
EVALUATIONS = ("evaluation", "evaluation_ab", "toxicity")
COMPARISONS = ("ranking", *EVALUATIONS)
TASK_TYPES = ("demonstration", *COMPARISONS, *PROMPT_TYPES)

NUM_PAIRS = range(2, 9)
"""Of a few-shot prompt: each is an example with the others as context, so one alone has none."""
CHOICES = ("1", "2", "tie", "both_bad")
CONFIDENCE = range(1, 10)
LIKERT = range(1, 8)
USE_CASES = (  # InstructGPT, Table 1
    "generation",
    "open_qa",
    "brainstorming",
    "chat",
    "rewriting",
    "summarization",
    "classification",
    "other",
    "closed_qa",
    "extraction",
)
SKIP_REASONS = (
    "unclear_task",
    "personal_data",
    "unsafe_for_me",
    "needs_expertise",
    "wrong_language",
    "broken",
    "other",
)

RANKING = {"ratings", "rank_groups", "unacceptable", "prompt_labels"}
FIELDS = {  # of each form, besides the comment
    "demonstration": {"response", "prompt_labels"},
    "ranking": RANKING,
    "evaluation": RANKING,
    "evaluation_ab": {"choice", "confidence", "ratings"},
    "toxicity": {"input_toxicity", "ratings", "rank_groups"},
    "prompt_plain": {"prompt", "use_case"},
    "prompt_few_shot": {"instruction", "pairs", "use_case"},
    "prompt_user_based": {"prompt", "use_case"},
}

LONGEST = 100_000
"""Characters of a prompt, a response or a comment that comes in: some forty pages, which nobody
judges. A file of them may have longer ones if whoever imports it says so."""

Groups = list[list[str]]


def check_form(
    task_type: str, form: Any, positions: Sequence[str], asked: Questions
) -> tuple[dict[str, Any], dict[str, str]]:
    """The form's choices, and its free texts by field; `asked` is what the project asks.

    Raises:
        StoreError: what is missing or wrong, by position, in words for the labeler.
    """
    if not isinstance(form, dict):
        raise StoreError(f"A form is a JSON object, this is {type(form).__name__}.")
    known = FIELDS[task_type] | {"comment"}
    if unknown := sorted(map(str, form.keys() - known)):
        raise StoreError(
            f"{', '.join(unknown)}: no such field here. There are {', '.join(sorted(known))}."
        )
    choices: dict[str, Any] = {}
    texts = {}
    if comment := _text(form, "comment"):
        texts["comment"] = comment
    if form.get("prompt_labels"):
        choices["prompt_labels"] = prompt_labels_of(form["prompt_labels"], asked)
    if task_type == "demonstration":
        response = _text(form, "response")
        if not response.strip():
            raise StoreError("The response is empty. Write it, or skip the task with a reason.")
        return choices, texts | {"response": response}
    if task_type in PROMPT_TYPES:
        texts |= few_shot_of(form) if task_type == "prompt_few_shot" else prompt_of(form)
        if form.get("use_case") not in USE_CASES:
            raise StoreError("Choose the kind of task that the prompt is.")
        return {"use_case": form["use_case"]}, texts
    if task_type == "evaluation_ab":
        return choices | comparison_of(form, positions, asked), texts
    if task_type == "toxicity":
        choices |= toxicity_of(form, positions)
        choices["rank_groups"] = check_groups(form.get("rank_groups"), [], positions)
        return choices, texts
    choices["ratings"] = ratings_of(form.get("ratings"), positions, asked)
    unacceptable = form.get("unacceptable") or []
    choices["rank_groups"] = check_groups(form.get("rank_groups"), unacceptable, positions)
    choices["unacceptable"] = sorted(unacceptable)
    return choices, texts


def form_of(task_type: str, choices: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """The form that these choices and texts came from."""
    if task_type == "evaluation_ab":
        given = {name: choices[name] for name in ("confidence", "ratings") if name in choices}
        return {"choice": choice_in(choices), **given, **texts}
    if task_type != "prompt_few_shot":
        return {**choices, **texts}
    pairs = [
        {"query": texts[f"query_{number}"], "response": texts[f"response_{number}"]}
        for number in range(1, NUM_PAIRS[-1] + 1)
        if f"query_{number}" in texts
    ]
    named = {field: texts[field] for field in ("instruction", "comment") if field in texts}
    return {**choices, **named, "pairs": pairs}


def comparison_of(
    form: Mapping[str, Any], positions: Sequence[str], asked: Questions
) -> dict[str, Any]:
    """A choice between two as rank groups, so that it counts like any other ranking."""
    choice, confidence = form.get("choice"), form.get("confidence")
    if choice not in CHOICES or len(positions) != 2:
        raise StoreError("Choose: the first is better, the second, a tie, or both are bad.")
    if confidence is not None and not is_answer(confidence, CONFIDENCE):
        raise StoreError(f"The confidence is 1 to 9, not {confidence!r}.")
    if confidence is not None and not asked.compare.confidence:
        raise StoreError("The form of this project asks for no confidence. Leave it out.")
    ratings = ratings_of(form.get("ratings"), positions, asked, optional=True)
    if ratings and not asked.compare.ratings:
        raise StoreError("The form of this project asks for no ratings. Leave them out.")
    groups = {"1": [["1"], ["2"]], "2": [["2"], ["1"]]}.get(choice, [["1", "2"]])
    return {
        "rank_groups": groups,
        "unacceptable": ["1", "2"] if choice == "both_bad" else [],
        "ratings": ratings,
    } | ({"confidence": confidence} if confidence is not None else {})


def choice_in(choices: Mapping[str, Any]) -> str:
    """The other way round."""
    if choices["unacceptable"]:
        return "both_bad"
    best: list[str] = choices["rank_groups"][0]
    return best[0] if len(best) == 1 else "tie"


def prompt_of(form: Mapping[str, Any]) -> dict[str, str]:
    prompt = _text(form, "prompt")
    if not prompt.strip():
        raise StoreError("The prompt is empty. Write it, or skip the task with a reason.")
    return {"prompt": prompt}


def few_shot_of(form: Mapping[str, Any]) -> dict[str, str]:
    """Instruction, query_1, response_1, query_2, ..: pairs with nothing in them are left out."""
    instruction = _text(form, "instruction")
    if not instruction.strip():
        raise StoreError("The instruction is empty. Say what is to be done with each query.")
    pairs = form.get("pairs") or []
    if not isinstance(pairs, list) or not all(isinstance(pair, dict) for pair in pairs):
        raise StoreError('"pairs" is a list of {"query": "...", "response": "..."}.')
    texts = {"instruction": instruction}
    number = 0
    for at, pair in enumerate(pairs, 1):
        both = {field: _text(pair, field) for field in ("query", "response")}
        if not any(text.strip() for text in both.values()):
            continue
        if empty := [field for field, text in both.items() if not text.strip()]:
            raise StoreError(f"Pair {at} has no {empty[0]}. Write it, or empty the pair.")
        number += 1
        texts |= {f"{field}_{number}": text for field, text in both.items()}
    if number not in NUM_PAIRS:
        raise StoreError(
            f"{number} {'pair' if number == 1 else 'pairs'} of query and response; a few-shot "
            f"prompt has {NUM_PAIRS[0]} to {NUM_PAIRS[-1]}."
        )
    require_short("".join(texts.values()), "The instruction with all pairs")
    return texts


def check_groups(groups: Any, unacceptable: Any, positions: Sequence[str]) -> Groups:
    """Rank groups, best first: each position in exactly one, the unacceptable ones last.

    Empty groups are squeezed out. An output that nobody placed is named, not ranked last.
    """
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise StoreError('"rank_groups" is a list of lists of responses, the best first.')
    placed = [position for group in groups for position in group]
    if strange := [str(p) for p in placed if p not in positions]:
        raise StoreError(f"Response {_listed(strange)}: there is no such response in this task.")
    if missing := [p for p in positions if p not in placed]:
        raise StoreError(
            f"{_subject(missing)} no rank yet. Give each one a place; ties are welcome."
        )
    if twice := sorted({p for p in placed if placed.count(p) > 1}):
        raise StoreError(f"{_subject(twice)} two ranks. One place for each.")
    kept = [sorted(group) for group in groups if group]
    if not isinstance(unacceptable, list) or not all(isinstance(p, str) for p in unacceptable):
        raise StoreError('"unacceptable" is a list of responses, each as text: ["3"].')
    if unacceptable and sorted(unacceptable) != kept[-1]:
        raise StoreError(
            "Unacceptable responses form the last group together, and nothing else stands in it."
        )
    return kept


def ranks_of(groups: Groups) -> dict[str, int]:
    """1 + the number of responses in better groups: 1, 2, 2, 4."""
    ranks = {}
    better = 0
    for group in groups:
        ranks.update(dict.fromkeys(group, better + 1))
        better += len(group)
    return ranks


def groups_of(ranks: Sequence[int], slots: Sequence[str]) -> Groups:
    """The groups that these ranks make; smaller is better, equal ranks tie."""
    pairs = list(zip(ranks, slots, strict=True))
    return [sorted(s for r, s in pairs if r == rank) for rank in sorted(set(ranks))]


def relabel(choices: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The same choices under other names: position to slot, or slot to position.

    One position may stand for several slots (equal texts are shown once): they are tied there and
    share a rating. A slot without a name is left out on the way back.
    """
    found = dict(choices)
    if "ratings" in choices:
        found["ratings"] = {
            new: rating for old, rating in choices["ratings"].items() for new in names.get(old, ())
        }
    if "rank_groups" in choices:
        found["rank_groups"] = [
            sorted(new for old in group for new in names.get(old, ()))
            for group in choices["rank_groups"]
        ]
    if "unacceptable" in choices:
        found["unacceptable"] = sorted(
            new for old in choices["unacceptable"] for new in names.get(old, ())
        )
    return found


def in_whole_numbers(value: Any) -> Any:
    """The same with 4 for 4.0: labels were taken so before forms refused it, and stay."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: in_whole_numbers(inner) for key, inner in value.items()}
    return [in_whole_numbers(inner) for inner in value] if isinstance(value, list) else value


def require_storable(value: Any, what: str, *, depth: int = 0) -> None:
    """Refuse text or a number that a database cannot hold, and lists within lists without end."""
    if depth > MOST_NESTED:
        raise StoreError(f"{what} has lists within lists over {MOST_NESTED} deep.")
    if isinstance(value, float) and not math.isfinite(value):
        raise StoreError(f"{what} has {value} in it, which is no number.")
    if isinstance(value, str):
        if "\0" in value:
            raise StoreError(
                f"{what} has a NUL character (U+0000), which no text has. Take it out."
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            raise StoreError(
                f"{what} has half a surrogate pair, which is no character. Take it out."
            ) from None
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            require_storable(key, what, depth=depth + 1)
            require_storable(inner, what, depth=depth + 1)
    elif isinstance(value, list):
        for inner in value:
            require_storable(inner, what, depth=depth + 1)


def require_short(text: str, what: str) -> None:
    """Refuse a text that is longer than anybody reads."""
    if len(text) > LONGEST:
        raise StoreError(
            f"{what} has {len(text):,} characters; {LONGEST:,} are the most. Shorten it."
        )


def _text(form: Mapping[str, Any], field: str) -> str:
    text = form.get(field) or ""
    if not isinstance(text, str):
        raise StoreError(f"The {field} must be text, it is {type(text).__name__}.")
    require_storable(text, f"The {field}")
    require_short(text, f"The {field}")
    return text


def ratings_of(
    ratings: Any, positions: Sequence[str], asked: Questions, *, optional: bool = False
) -> dict[str, Any]:
    """Quality and flags of each response; where they are `optional`, of those that have any."""
    if not isinstance(ratings, dict):
        ratings = {}
    if strange := sorted(str(p) for p in ratings if p not in positions):
        raise StoreError(f"Response {_listed(strange)}: there is no such response in this task.")
    rated = {}
    for position in positions:
        rating = ratings.get(position)
        if not isinstance(rating, dict):
            continue
        likert, flags = rating.get("likert"), rating.get("flags") or {}
        if likert is None:
            if optional and set(_flags(flags, position, asked).values()) - {None, False}:
                rated[position] = {"flags": _flags(flags, position, asked)}
            continue
        if not is_answer(likert, LIKERT):
            raise StoreError(f"Response {position}: the quality is 1 to 7, not {likert!r}.")
        rated[position] = {"likert": likert, "flags": _flags(flags, position, asked)}
    if optional:
        return rated
    if missing := [p for p in positions if p not in rated]:
        raise StoreError(f"{_subject(missing)} no quality yet. Rate each from 1 to 7 first.")
    return rated


def _flags(flags: Any, position: str, asked: Questions) -> dict[str, bool | None]:
    if not isinstance(flags, dict):
        raise StoreError(f"Response {position}: flags are yes or no by name.")
    if strange := sorted(map(str, flags.keys() - set(asked.flag_names))):
        raise StoreError(f"Response {position}: no flag {_listed(strange)}.")
    # Whether a constraint is met, say, has no answer where there is none.
    unsaid = {flag.name: None if flag.none else False for flag in asked.flags}
    for name, value in flags.items():
        if not isinstance(value, bool) and not (value is None and unsaid[name] is None):
            raise StoreError(f"Response {position}: flag {name} is yes or no, not {value!r}.")
    return unsaid | flags


def prompt_labels_of(labels: Any, asked: Questions) -> dict[str, Any]:
    """Only what was answered: a missing label is not "no"."""
    if not isinstance(labels, dict):
        raise StoreError("Labels of the prompt are yes or no by name.")
    if strange := sorted(map(str, labels.keys() - set(asked.label_names))):
        raise StoreError(f"The prompt has no label {_listed(strange)}.")
    for name, value in labels.items():
        if name == "use_case" and value is not None and value not in USE_CASES:
            # Not any text: choices are never erased.
            raise StoreError(f"The use case is one of {', '.join(USE_CASES)}, not {value!r}.")
        if name != "use_case" and value is not None and not isinstance(value, bool):
            raise StoreError(f"Label {name} of the prompt cannot be {value!r}.")
    return {name: labels[name] for name in asked.label_names if labels.get(name) is not None}


def _subject(positions: Sequence[str]) -> str:
    return ("Response" if len(positions) == 1 else "Responses") + (
        f" {_listed(positions)} " + ("has" if len(positions) == 1 else "have")
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
