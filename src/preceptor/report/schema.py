"""results.json is held to its schema, so that other tools can rely on it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema

from preceptor.errors import DataError

SCHEMA = Path(__file__).parent / "results.schema.json"
Json = dict[str, Any]


def validate_results(results: Json) -> None:
    """Refuse results that do not have the shape that the schema promises.

    Raises:
        DataError: names the field and the rule.
    """
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(results))
    if errors:
        # Of a choice such as "null or an estimate" only the branch says what is wrong.
        first = jsonschema.exceptions.best_match(errors)
        place = ".".join(str(part) for part in first.absolute_path) or "the whole"
        raise DataError(f"results.json: {place}: {first.message[:200]}. Run `evaluate` again.")
    for place, rule in _broken_rules(results):
        raise DataError(f"results.json: {place}: {rule}. Run `evaluate` again.")


def _broken_rules(results: Json) -> Iterator[tuple[str, str]]:
    """What a JSON Schema cannot say: fields that must agree with each other."""
    models = results["models"]
    for name in ("gold_score", "rates", "measures"):
        if set(results[name]) != set(models):
            yield name, f"is for {sorted(results[name])}, but the models are {sorted(models)}"
    for name, found in results["win_rate"].items():
        if found["wins"] + found["ties"] + found["losses"] != found["n"]:
            yield f"win_rate.{name}", "wins, ties and losses do not add up to n"
    for place, found in _estimates(results, ""):
        if found["low"] is not None and found["high"] is not None and found["low"] > found["high"]:
            yield place, f"low {found['low']} is above high {found['high']}"


def _estimates(value: Any, place: str) -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict):
        if {"mean", "low", "high"} <= set(value):
            yield place, value
        for key, inner in value.items():
            yield from _estimates(inner, f"{place}.{key}".lstrip("."))
