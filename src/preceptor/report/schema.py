"""results.json is held to its schema, so that other tools can rely on it."""

import json
from pathlib import Path
from typing import Any

import jsonschema

from preceptor.errors import DataError

SCHEMA = Path(__file__).parent / "results.schema.json"


def validate_results(results: dict[str, Any]) -> None:
    """Refuse results that do not have the shape that the schema promises.

    Raises:
        DataError: names the field and the rule.
    """
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    errors = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(results), key=lambda e: list(e.path)
    )
    if errors:
        first = errors[0]
        place = ".".join(str(part) for part in first.absolute_path) or "the whole"
        raise DataError(f"results.json: {place}: {first.message[:200]}.")
