"""Any choice of steps: the counts add up, and nothing is said of a step that did not run."""

import html
import re
from pathlib import Path
from typing import Any

import pytest
from corpora import everything, recipe_of

from preceptor.corpus.build import build
from preceptor.corpus.card import STEPS
from preceptor.data.shards import read_card

CHOICE = [step for step in STEPS if step != "read"]
ALONE = [(step,) for step in CHOICE]
LEFT_OUT = [tuple(other for other in CHOICE if other != step) for step in CHOICE]
ROWS = 60 + 80 + 40 + 21 + 9 + 3 + 2
"""That `everything` has written."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("inputs")
    return folder, everything(folder)


def only(values: dict[str, Any], steps: tuple[str, ...]) -> dict[str, Any]:
    """The recipe with these steps alone; without a classifier no source is good or raw."""
    found = {key: value for key, value in values.items() if key not in CHOICE or key in steps}
    if "classifier" not in steps:
        found["sources"] = [
            {key: value for key, value in source.items() if key not in ("is_good", "classify")}
            for source in values["sources"]
        ]
    return found


@pytest.mark.parametrize(
    "steps",
    [(), *ALONE, *LEFT_OUT],
    ids=["none", *CHOICE, *(f"without-{step}" for step in CHOICE)],
)
def test_of_any_steps_the_counts_add_up_and_no_other_step_is_told_of(inputs, tmp_path, steps):
    folder, values = inputs
    lines: list[str] = []
    build(recipe_of(folder, **only(values, steps)), tmp_path, workers=1, say=lines.append)
    card = read_card(tmp_path)
    assert [step["step"] for step in card["steps"]] == ["read", *steps]
    for step in card["steps"]:
        assert step["entered"] == step["kept"] + sum(r["documents"] for r in step["reasons"])
        assert step["kept"] == sum(step["kept_by_source"].values())
        for reason in step["reasons"]:
            assert reason["documents"] == sum(reason["by_source"].values())
        works = step["dropped"] or card["cut"]["documents cut"] or card["masked"]
        assert works or step["step"] == "read" or len(steps) > 1
    # Each row is dropped once, or left; of a document that is cut, every piece.
    assert card["steps"][0]["entered"] == ROWS == sum(row["rows"] for row in card["sources"])
    more = card["cut"]["pieces of cut documents"] - card["cut"]["documents cut"]
    assert (more > 0) == ("decontaminate" in steps)
    assert ROWS + more == card["left"] + sum(step["dropped"] for step in card["steps"])
    unique = sum(row["train_documents"] for row in card["sources"])
    assert card["left"] == unique + card["documents"]["valid"]

    page = html.unescape((tmp_path / "corpus.html").read_text(encoding="utf-8"))
    assert re.findall(r'<section id="(\w+)"', page) == ["read", *steps]
    for step in CHOICE:
        told = [text for text in ("\n".join(lines), page) if STEPS[step] in text]
        assert len(told) == (2 if step in steps else 0), step
        # The page names it once more: where the recipe is shown.
        assert (f"<dt>{step}</dt>" in page) == (step in steps)
    told = [step for step in CHOICE if step not in steps]
    assert (f"<dt>not done</dt><dd>{', '.join(told)}</dd>" in page) == bool(told)
    assert ("asked about raw sources" in page) == ("classifier" in steps)
    assert ("goes on as its pieces" in page) == ("decontaminate" in steps)
    assert bool(card["masked"]) == ("personal" in steps)
    assert bool(card["duplicate_pairs"]) == ("duplicates" in steps)
