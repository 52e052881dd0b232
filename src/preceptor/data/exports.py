"""Exports of two labeling tools: Argilla's records and Label Studio's tasks.

Only what a labeler handed in is read: drafts, discarded and cancelled work is nobody's judgement.
Which text is the prompt is never guessed: the one that is left beside the responses, or of several
the field named `prompt`; the others then stay in `meta` under "fields".
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

from preceptor.data.conversations import Row, plain, turns_of
from preceptor.data.records import Demonstration, Prompt, Ranking
from preceptor.errors import DataError


def read_argilla(row: Row, where: str, kind: type) -> Iterator[Row]:
    """One record's answers, a row for each labeler; equal ranks are ties.

    A ranking's values name the fields that hold the responses; a demonstration is a text answer.
    """
    fields = row["fields"]
    if not isinstance(fields, dict):
        raise DataError(f'{where}: "fields" must be an object.')
    rest = {k: v for k, v in row.items() if k in ("user", "use_case")}
    rest["meta"] = dict(row.get("metadata") or {})
    if kind is Prompt:
        given = _argilla_answers(row["responses"], where)
        ranked = {name for _, answers in given for v in answers.values() for name in _ranked(v)}
        yield _with_prompt(rest, fields, ranked, where)
        return
    for labeler, answers in _argilla_answers(row["responses"], where):
        rankings = [v for v in answers.values() if _is_argilla_ranking(v)]
        texts = [v for v in answers.values() if isinstance(v, str) and v.strip()]
        if kind is Ranking and rankings:
            if len(rankings) > 1:
                raise DataError(f"{where}: two rankings by one labeler; one question must rank.")
            ranks = {str(place["value"]): place["rank"] for place in rankings[0]}
            if missing := [name for name in ranks if not isinstance(fields.get(name), str)]:
                raise DataError(f"{where}: ranked is {missing[0]!r}, which is no field with text.")
            names = [name for name in fields if name in ranks]  # one order for all labelers
            yield _with_prompt(rest, fields, names, where) | {
                "responses": [fields[name] for name in names],
                "ranks": [ranks[name] for name in names],
                "labeler": labeler,
            }
        elif kind is Demonstration and texts:
            if len(texts) > 1:
                raise DataError(f"{where}: {len(texts)} text answers by one labeler; one responds.")
            yield _with_prompt(rest, fields, (), where) | {"response": texts[0]}


def write_argilla(record: Ranking | Demonstration) -> Iterator[Row]:
    """A record of Argilla 2 with one labeler's answer."""
    fields: Row = {"prompt": record.prompt}
    value: Any
    if isinstance(record, Ranking):
        names = [f"response-{number}" for number in range(1, len(record.responses) + 1)]
        fields |= dict(zip(names, record.responses, strict=True))
        question, labeler = "ranking", record.labeler
        value = [{"value": n, "rank": r} for n, r in zip(names, record.ranks, strict=True)]
    else:
        question, labeler, value = "response", "", record.response
    answer = {"value": value, "user_id": labeler, "status": "submitted"}
    yield {"fields": fields, "responses": {question: [answer]}, "metadata": record.meta}


def read_label_studio(row: Row, where: str, kind: type) -> Iterator[Row]:
    """One task's annotations: a ranker, a pairwise choice, or a text area with the response.

    A ranker's list has no ties; in buckets named by number, those of one bucket are tied.
    """
    content = row["data"]
    if not isinstance(content, dict) or not isinstance(row["annotations"], list):
        raise DataError(f'{where}: "data" must be an object and "annotations" a list.')
    rest = {k: v for k, v in row.items() if k in ("user", "use_case")}
    rest["meta"] = dict(row.get("meta") or {})
    if kind is Prompt:
        parts = [p for a in row["annotations"] for p in a.get("result") or []]
        paired = {name for p in parts if p.get("type") == "pairwise" for name in _named(p, content)}
        yield _with_prompt(rest, content, paired, where)
        return
    for annotation in row["annotations"]:
        if annotation.get("was_cancelled"):
            continue
        for part in annotation.get("result") or []:
            value, form = part.get("value") or {}, part.get("type")
            labeler = _labeler(annotation.get("completed_by"))
            if kind is Ranking and form == "ranker":
                found = _ranker(content, value.get("ranker"), where)
                yield _with_prompt(rest, content, (), where) | found | {"labeler": labeler}
            elif kind is Ranking and form == "pairwise":
                pair, found = _pairwise(content, part, value, where)
                yield _with_prompt(rest, content, pair, where) | found | {"labeler": labeler}
            elif kind is Demonstration and form == "textarea" and value.get("text"):
                text = value["text"]
                response = "\n".join(text) if isinstance(text, list) else text
                yield _with_prompt(rest, content, (), where) | {"response": response}


def write_label_studio(record: Ranking | Demonstration) -> Iterator[Row]:
    """A task with one annotation; a ranking in buckets, so that ties survive."""
    content: Row = {"prompt": record.prompt}
    value: Row
    if isinstance(record, Ranking):
        items = {str(at): text for at, text in enumerate(record.responses, 1)}
        content["items"] = [{"id": name, "body": text} for name, text in items.items()]
        buckets: dict[str, list[str]] = {}
        for name, rank in sorted(zip(items, record.ranks, strict=True), key=lambda x: x[1]):
            buckets.setdefault(str(rank), []).append(name)
        form, value, labeler = "ranker", {"ranker": buckets}, record.labeler
    else:
        form, value, labeler = "textarea", {"text": [record.response]}, ""
    part = {"from_name": form, "to_name": "prompt", "type": form, "value": value}
    annotation = {"completed_by": labeler, "was_cancelled": False, "result": [part]}
    yield {"data": content, "annotations": [annotation], "meta": record.meta}


def _argilla_answers(responses: Any, where: str) -> Iterator[tuple[str, Row]]:
    """(labeler, question to answer): Argilla 2 lists answers by question, Argilla 1 by labeler."""
    if isinstance(responses, dict):
        by_labeler: dict[tuple[str, int], Row] = {}
        for question, answers in responses.items():
            for at, answer in enumerate(answers or []):
                if answer.get("status") in (None, "submitted"):
                    labeler = _labeler(answer.get("user_id"))
                    # Nobody's answers are not one person's: each place in the lists is another's.
                    key = (labeler, -1 if labeler else at)
                    by_labeler.setdefault(key, {})[question] = answer.get("value")
        yield from ((labeler, answers) for (labeler, _), answers in by_labeler.items())
    elif isinstance(responses, list):
        for answer in responses:
            if answer.get("status") in (None, "submitted"):
                given = (answer.get("values") or {}).items()
                values = {question: (answered or {}).get("value") for question, answered in given}
                yield _labeler(answer.get("user_id")), values
    else:
        raise DataError(f'{where}: "responses" must be an object or a list.')


def _is_argilla_ranking(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(v, dict) and "rank" in v and "value" in v for v in value)
    )


def _ranked(value: Any) -> list[str]:
    return [str(place["value"]) for place in value] if _is_argilla_ranking(value) else []


def _ranker(content: Row, order: Any, where: str) -> Row:
    lists = [value for value in content.values() if _is_item_list(value)]
    if len(lists) != 1:
        raise DataError(f"{where}: {len(lists)} lists of items in the task; one is to be ranked.")
    texts = {str(item["id"]): _item_text(item, where) for item in lists[0]}
    groups = _groups(order, where)
    ranks: dict[str, int] = {}
    place = 1
    for group in groups:
        ranks |= {str(name): place for name in group}
        place += len(group)
    if set(ranks) != set(texts):
        odd = sorted(set(ranks) ^ set(texts))[0]
        raise DataError(f"{where}: the item {odd!r} is ranked and not there, or not ranked.")
    names = list(texts)  # the task's order, not the labeler's: it says nothing
    return {
        "responses": [texts[name] for name in names],
        "ranks": [ranks[name] for name in names],
    }


def _groups(order: Any, where: str) -> list[list[Any]]:
    """Items from best to worst, those of one group tied."""
    if isinstance(order, dict) and isinstance(order.get("rank"), list):
        order = order["rank"]
    if isinstance(order, list):
        return [[name] for name in order]
    if not isinstance(order, dict):
        raise DataError(f"{where}: a ranker's value is a list, or buckets of lists.")
    filled = {name: items for name, items in order.items() if items}
    numbers = {name: re.search(r"\d+$", name) for name in filled}
    if unordered := [name for name, number in numbers.items() if number is None]:
        raise DataError(
            f"{where}: the bucket {unordered[0]!r} has no place among {', '.join(filled)}. Name "
            "buckets by number, 1 the best; what is left in none cannot be ranked."
        )
    ordered = sorted(filled, key=lambda name: int(numbers[name][0]))  # type: ignore[index]
    return [filled[name] for name in ordered]


def _pairwise(content: Row, part: Row, value: Row, where: str) -> tuple[list[str], Row]:
    """The names of the two texts, the left one first, and what was chosen of them."""
    pair = _named(part, content)
    if len(pair) != 2 or not all(isinstance(content[name], str) for name in pair):
        raise DataError(
            f"{where}: which text is left and which right? The choice is between "
            f"{part.get('to_name')!r}; give the two texts in data these names."
        )
    if value.get("selected") not in ("left", "right"):
        raise DataError(f"{where}: a pairwise choice is left or right.")
    ranks = [1, 2] if value["selected"] == "left" else [2, 1]
    return pair, {"responses": [content[name] for name in pair], "ranks": ranks}


def _named(part: Row, content: Row) -> list[str]:
    names = [name.strip() for name in str(part.get("to_name", "")).split(",")]
    return [name for name in names if name in content]


def _with_prompt(rest: Row, fields: Row, responses: Collection[str], where: str) -> Row:
    """What else is known, the prompt, and in meta the fields that are neither it nor a response."""
    left = {name: value for name, value in fields.items() if name not in responses and value}
    names = [
        name
        for name, value in left.items()
        if isinstance(value, str) or (isinstance(value, list) and not _is_item_list(value))
    ]
    if len(names) != 1 and "prompt" not in names:
        raise DataError(
            f"{where}: which of {', '.join(names) or 'no field'} is the prompt? Name it prompt; "
            "the others are kept in meta."
        )
    name = "prompt" if "prompt" in names else names[0]
    found = left.pop(name)
    prompt = plain(turns_of(found, where, name)) if isinstance(found, list) else found
    beside = {name: value for name, value in left.items() if not _is_item_list(value)}
    kept = {"meta": rest["meta"] | {"fields": beside}} if beside else {}
    return rest | kept | {"prompt": prompt}


def _is_item_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(
        isinstance(item, dict) and "id" in item for item in value
    )  # fmt: skip


def _item_text(item: Row, where: str) -> str:
    for key in ("body", "text", "html", "title"):
        if isinstance(item.get(key), str):
            return str(item[key])
    raise DataError(f'{where}: the item {item["id"]!r} has no "body" or "text".')


def _labeler(found: Any) -> str:
    if isinstance(found, dict):
        found = found.get("email") or found.get("id")
    return "" if found is None else str(found)
