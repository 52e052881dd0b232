"""Between a page's fields and the form that the store takes; both are by position.

A page holds a part of the form: one rating, or the ranking. What it does not hold stays as the
draft has it. A draft may be unfinished; `preceptor.store.forms` says what a whole form is.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from preceptor.store.forms import (
    CHOICES,
    CONFIDENCE,
    FIELDS,
    LIKERT,
    NUM_PAIRS,
    USE_CASES,
)
from preceptor.store.questions import Questions
from preceptor.store.toxicity import QUESTIONS, TOXICITY, is_answer

Fields = Mapping[str, str]
Filled = dict[str, Any]

UNACCEPTABLE = "unacceptable"
TRI_STATE = {"yes": True, "no": False}
RELATIVE = {"-1": -1, "0": 0, "1": 1}


def positions_of(num_responses: int) -> list[str]:
    return [str(i + 1) for i in range(num_responses)]


def as_form(draft: Any) -> Filled:
    """A draft as a form; what somebody's program left there instead counts as empty."""
    return dict(draft) if isinstance(draft, dict) else {}


def with_writing(draft: Any, fields: Fields, asked: Questions) -> Filled:
    """The draft with what stands on the page where a response is written."""
    return as_form(draft) | {"response": fields.get("response", "")} | _around(fields, asked)


def with_prompt(draft: Any, fields: Fields) -> Filled:
    """The draft with what stands on the page where a prompt is written."""
    return as_form(draft) | {"prompt": fields.get("prompt", "")} | _around_prompt(fields)


def with_few_shot(draft: Any, fields: Fields) -> Filled:
    """The draft with instruction and pairs; the button for one more adds an empty one."""
    names = [number for number in range(1, NUM_PAIRS[-1] + 1) if f"query_{number}" in fields]
    pairs = [
        {field: fields.get(f"{field}_{number}", "") for field in ("query", "response")}
        for number in names
    ]
    if fields.get("action") == "pair" and len(pairs) < NUM_PAIRS[-1]:
        pairs.append({"query": "", "response": ""})
    written = {"instruction": fields.get("instruction", ""), "pairs": pairs}
    return as_form(draft) | written | _around_prompt(fields)


def pairs_in(draft: Any) -> list[dict[str, str]]:
    """The pairs of a few-shot prompt, and as many empty ones as a page begins with."""
    pairs = as_form(draft).get("pairs")
    found = [
        {field: text_in(pair, field) for field in ("query", "response")}
        for pair in (pairs if isinstance(pairs, list) else [])[: NUM_PAIRS[-1]]
    ]
    return found + [{"query": "", "response": ""}] * (NUM_PAIRS[0] - len(found))


def with_rating(draft: Any, position: str, fields: Fields, asked: Questions) -> Filled:
    """The draft with one response's rating."""
    form = as_form(draft)
    return form | {"ratings": _ratings(form) | {position: _rating(fields, asked)}}


def with_toxicity(draft: Any, position: str, fields: Fields) -> Filled:
    """The draft with the toxicity of the prompt, and one response's answers."""
    form = as_form(draft)
    rating = {
        "toxicity": _digit(fields.get("toxicity", ""), TOXICITY),
        "relative_toxicity": RELATIVE.get(fields.get("relative_toxicity", "")),
        "continuity": _digit(fields.get("continuity", ""), LIKERT),
    }
    return form | {
        "input_toxicity": _digit(fields.get("input_toxicity", ""), TOXICITY),
        "ratings": _ratings(form) | {position: rating},
    }


def toxicity_in(draft: Any, position: str) -> dict[str, int | None]:
    """The answers of a page of toxicity: of the prompt and of one response, None where open."""
    form = as_form(draft)
    rating = _rating_of(form, position)
    said = {"input_toxicity": (form.get("input_toxicity"), TOXICITY)}
    said |= {name: (rating.get(name), allowed) for name, allowed in QUESTIONS.items()}
    return {
        name: value if is_answer(value, allowed) else None
        for name, (value, allowed) in said.items()
    }


def with_choice(draft: Any, positions: Sequence[str], fields: Fields, asked: Questions) -> Filled:
    """The draft with a choice between two, how sure it is, and ratings that are there."""
    chosen, sure = fields.get("choice", ""), fields.get("confidence", "")
    form = as_form(draft) | {
        "choice": chosen if chosen in CHOICES else None,
        "comment": fields.get("comment", ""),
    }
    if asked.compare.confidence:
        form["confidence"] = _digit(sure, CONFIDENCE)
    if asked.compare.ratings:
        form["ratings"] = {p: _rating(fields, asked, f"_{p}") for p in positions}
    return form


def confidence_in(draft: Any) -> Any:
    """How sure a choice is, or None."""
    return as_form(draft).get("confidence")


def rated_in(draft: Any, positions: Sequence[str], asked: Questions) -> bool:
    """Whether any response has a rating, or a flag."""
    ratings = [rating_in(draft, position, asked) for position in positions]
    return any(r["likert"] or set(r["flags"].values()) - {None, False} for r in ratings)


def with_ranking(draft: Any, positions: Sequence[str], fields: Fields, asked: Questions) -> Filled:
    """The draft with the ranks of the page: bucket 1..K, or unacceptable.

    The page carries the ratings that it was made with, so the same page sent twice is the same form
    twice, whatever became of the draft. Empty buckets stay, so that the page shows the same ranks
    again; the store squeezes them out.
    """
    chosen = {position: fields.get(f"rank_{position}", "") for position in positions}
    unacceptable = [p for p in positions if chosen[p] == UNACCEPTABLE]
    groups = [[p for p in positions if chosen[p] == rank] for rank in positions]
    while groups and not groups[-1]:
        groups.pop()
    ranking = {
        "rank_groups": [*groups, unacceptable] if unacceptable else groups,
        "unacceptable": unacceptable,
    }
    carried = json_in(fields, "ratings")
    ratings = {"ratings": carried} if isinstance(carried, dict) else {}
    return as_form(draft) | ratings | ranking | _around(fields, asked)


def with_toxicity_ranking(
    draft: Any, positions: Sequence[str], fields: Fields, asked: Questions
) -> Filled:
    """The same where nothing is unacceptable, and nothing asked about the prompt but its toxicity.

    That, too, the page carries.
    """
    given = {"input_toxicity": _digit(fields.get("rated_input", ""), TOXICITY)}
    whole = with_ranking(draft, positions, fields, asked) | given
    known = FIELDS["toxicity"] | {"comment"}
    return {name: value for name, value in whole.items() if name in known}


def json_in(fields: Fields, name: str) -> Any:
    """A value that a page carried as JSON; None if it is none."""
    try:
        return json.loads(fields.get(name, ""), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON, and no database takes it")


def ranks_in(draft: Any, positions: Sequence[str]) -> dict[str, str]:
    """Which bucket each response is in: 1..K, unacceptable, or "" for none yet."""
    form = as_form(draft)
    groups, unacceptable = form.get("rank_groups"), form.get("unacceptable") or []
    found = dict.fromkeys(positions, "")
    if isinstance(groups, list):
        for rank, group in enumerate(groups):
            for position in group if isinstance(group, list) else ():
                if position in positions and rank < len(positions):
                    found[position] = str(rank + 1)
    for position in unacceptable if isinstance(unacceptable, list) else ():
        if position in positions:
            found[position] = UNACCEPTABLE
    return found


def rating_in(draft: Any, position: str, asked: Questions) -> Filled:
    """A response's rating in a draft: its quality, or None, and its flags."""
    rating = _rating_of(draft, position)
    flags = rating.get("flags")
    known = flags if isinstance(flags, dict) else {}
    return {
        "likert": rating.get("likert"),
        "flags": {name: known.get(name) for name in asked.flag_names},
    }


def quality_in(draft: Any, position: str) -> Any:
    """A response's quality in a draft, or None."""
    return _rating_of(draft, position).get("likert")


def ratings_json(draft: Any) -> str:
    """All ratings of a draft, for a page to carry."""
    return json.dumps(_ratings(as_form(draft)))


def unrated(draft: Any, positions: Sequence[str], task_type: str) -> list[str]:
    """The responses whose page is not done yet; the ranking opens when there is none."""
    if task_type == "toxicity":
        return [p for p in positions if None in toxicity_in(draft, p).values()]
    return [p for p in positions if not is_answer(quality_in(draft, p), LIKERT)]


def text_in(draft: Any, field: str) -> str:
    text = as_form(draft).get(field)
    return text if isinstance(text, str) else ""


def labels_in(draft: Any, asked: Questions) -> dict[str, str]:
    """The prompt's labels as the fields have them: yes, no, a use case; "" where unsaid."""
    labels = as_form(draft).get("prompt_labels")
    words = {True: "yes", False: "no"}
    known = labels if isinstance(labels, dict) else {}
    said = {name: known.get(name, "") for name in asked.label_names}
    return {
        name: words[value] if isinstance(value, bool) else value if isinstance(value, str) else ""
        for name, value in said.items()
    }


def _rating(fields: Fields, asked: Questions, of: str = "") -> Filled:
    """A rating as its fields have it, whose names end on `of`."""
    flags = {
        flag.name: TRI_STATE.get(fields.get(f"flag_{flag.name}{of}", ""))
        if flag.none
        else f"flag_{flag.name}{of}" in fields
        for flag in asked.flags
    }
    return {"likert": _digit(fields.get(f"likert{of}", ""), LIKERT), "flags": flags}


def _around(fields: Fields, asked: Questions) -> Filled:
    """What stands on both last pages: labels of the prompt, and a comment."""
    labels: dict[str, Any] = {}
    for name in asked.label_names:
        said = fields.get(f"label_{name}", "")
        if name == "use_case" and said in USE_CASES:
            labels[name] = said
        elif said in TRI_STATE:
            labels[name] = TRI_STATE[said]
    return {"prompt_labels": labels, "comment": fields.get("comment", "")}


def _around_prompt(fields: Fields) -> Filled:
    """What stands below a prompt that is written: its use case, and a comment."""
    use_case = fields.get("use_case", "")
    chosen = {"use_case": use_case} if use_case in USE_CASES else {}
    return chosen | {"comment": fields.get("comment", "")}


def _digit(said: str, allowed: range) -> int | None:
    """A number of a field, or None where nothing is said that counts."""
    found = int(said) if len(said) == 1 and said.isascii() and said.isdigit() else None
    return found if found in allowed else None


def _rating_of(draft: Any, position: str) -> Filled:
    rating = _ratings(as_form(draft)).get(position)
    return rating if isinstance(rating, dict) else {}


def _ratings(form: Filled) -> Filled:
    ratings = form.get("ratings")
    return dict(ratings) if isinstance(ratings, dict) else {}
