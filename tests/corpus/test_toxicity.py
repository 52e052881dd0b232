"""The toxicity step: learned from labels, held to counts by hand, counted and shown on the card."""

import html
import json
from pathlib import Path

import pytest
from corpora import (
    INSULTS,
    advert,
    built,
    document,
    insult,
    reasons,
    recipe_of,
    write_examples,
    write_lines,
)

from preceptor.corpus.classifier import Classifier
from preceptor.corpus.recipe import ToxicityConfig
from preceptor.corpus.tally import excerpt
from preceptor.corpus.toxicity import examples, train
from preceptor.errors import DataError


def config(path: Path, **values: object) -> ToxicityConfig:
    return ToxicityConfig.model_validate({"files": str(path)} | values)


def test_it_tells_what_it_has_not_seen(tmp_path):
    facts = train(config(write_examples(tmp_path / "e.jsonl")), "refuse", tmp_path, 1)
    assert facts["examples"] == {"toxic": 40, "other": 40}
    assert facts["held_out"] == {"toxic": 4, "other": 4}
    assert facts["held_out_auc"] == 1.0
    assert facts["reach_threshold"] == {"toxic": 1.0, "other": 0.0}
    model = Classifier.load(tmp_path / "classifier.npy")
    assert model.score(insult(1)) > 0.9 > 0.1 > model.score(document(1))


def test_labels_that_mean_nothing_teach_nothing(tmp_path):
    """One kind of text under both labels: the figure on the card must not flatter it."""
    rows = [{"text": document(n, 5), "toxic": n % 2} for n in range(400)]
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = train(config(tmp_path / "e.jsonl"), "refuse", tmp_path, 1)
    assert 0.2 < facts["held_out_auc"] < 0.8


def test_ordinary_text_is_learned_from_without_a_label(tmp_path):
    """Of text like no example it knows nothing; a file of such text is what mends that."""
    path = write_examples(tmp_path / "e.jsonl")
    train(config(path), "refuse", tmp_path, 1)
    before = Classifier.load(tmp_path / "classifier.npy").score(f"{advert(999)} stupid trash")
    texts = [f"{advert(n)} {INSULTS[n % 12]} {INSULTS[n % 7]}" for n in range(60)]
    plain = write_lines(tmp_path / "plain.jsonl", texts)
    facts = train(config(path, harmless=str(plain)), "refuse", tmp_path, 1)
    assert facts["examples"] == {"toxic": 40, "other": 100}
    after = Classifier.load(tmp_path / "classifier.npy").score(f"{advert(999)} stupid trash")
    assert 3 * after < before


def test_a_text_that_comes_again_counts_once_as_it_came_first(tmp_path):
    """Else what it is tested on is among what it was trained on."""
    path = write_examples(tmp_path / "e.jsonl")
    again = "".join(
        json.dumps(json.loads(line) | {"toxic": False}) + "\n"
        for line in path.read_text().splitlines()
    )
    path.write_text(path.read_text() * 3 + again)
    facts = train(config(path), "refuse", tmp_path, 1)
    assert facts["examples"] == {"toxic": 40, "other": 40}


@pytest.mark.parametrize(
    ("row", "is_toxic"),
    [
        ({"text": "a", "toxic": True}, True),
        ({"text": "a", "toxic": 0}, False),
        ({"text": "a", "toxic": 0.5}, True),
        ({"text": "a", "toxic": 0.49}, False),
        ({"text": "a", "toxic": "0.75"}, True),
        ({"text": "a", "toxic": "False"}, False),
        ({"text": "a", "meta": {"toxic": 1}}, True),
        ({"text": "a"}, None),
        ({"text": "a", "toxic": None}, None),
        ({"text": "a", "toxic": "very"}, None),
        ({"text": "a", "toxic": [1]}, None),
        ({"text": " ", "toxic": 1}, None),
        ({"toxic": 1}, None),
    ],
)
def test_what_a_label_says(tmp_path, row, is_toxic):
    (tmp_path / "e.jsonl").write_text(json.dumps(row) + "\n")
    [(where, found)] = examples(config(tmp_path / "e.jsonl"))
    if is_toxic is None:
        assert isinstance(found, DataError) and str(found).startswith(f"{where}: ")
    else:
        assert found == ("a", is_toxic)


def test_a_table_with_other_names_is_read(tmp_path):
    (tmp_path / "e.csv").write_text("comment,insult\nhello,0.2\nyou scum,0.4\n")
    keys = {"text_key": "comment", "label_key": "insult", "toxic_from": 0.3}
    found = [example for _, example in examples(config(tmp_path / "e.csv", **keys))]
    assert found == [("hello", False), ("you scum", True)]


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """A corpus of which two documents in twelve are like the toxic examples."""
    folder = tmp_path_factory.mktemp("toxic")
    write_lines(folder / "a.jsonl", [*(document(n, 8) for n in range(10)), insult(2), insult(3)])
    values = {"sources": [{"name": "a", "files": str(folder / "a.jsonl")}]}
    path = write_examples(folder / "e.jsonl")
    found = built(recipe_of(folder, **values, toxicity={"files": str(path)}), folder / "out")
    return found, (folder / "out" / "corpus.html").read_text(encoding="utf-8")


def test_what_goes_is_counted_with_examples_and_the_card_says_how_good_it_is(card):
    found, page = card
    assert reasons(found, "toxicity") == {"like the toxic examples": 2}
    [step] = [step for step in found["steps"] if step["step"] == "toxicity"]
    assert step["entered"] == 12 and step["kept"] == 10
    shown = {row["text"] for row in step["reasons"][0]["examples"]}
    assert shown == {excerpt(insult(2)), excerpt(insult(3))}
    [note] = found["notes"]  # more than a corpus has of that
    assert note.startswith("The toxicity step dropped 17% of the documents") and note in page
    assert sum(found["toxicity"]["by_score"].values()) == 12
    assert found["toxicity"]["examples"] == {"toxic": 40, "other": 40}
    text = html.unescape(page)
    assert "It learned from 40 toxic examples and 40 others" in text
    assert "100.0 % of the 4 toxic ones (51.0 to 100.0 %) reach the threshold of 0.9" in text
    assert "and 0.0 % of the 4 others (0.0 to 49.0 %)" in text


def test_too_few_of_a_kind_or_a_broken_row_is_refused_or_said(tmp_path):
    write_lines(tmp_path / "a.jsonl", [document(n) for n in range(4)])
    path = write_examples(tmp_path / "e.jsonl")
    lines = path.read_text().splitlines()
    values = {"sources": [{"name": "a", "files": str(tmp_path / "a.jsonl")}],
              "toxicity": {"files": str(path)}}  # fmt: skip

    path.write_text("\n".join(lines[:59]))  # 40 toxic ones, 19 others
    with pytest.raises(DataError, match="19 examples that are not toxic, and it takes 20 of each"):
        built(recipe_of(tmp_path, **values), tmp_path / "refused")
    card = built(recipe_of(tmp_path, **values, on_error="skip"), tmp_path / "out")
    assert "The toxicity step was left out: 19 examples that are not toxic." in card["notes"]
    assert "toxicity" not in [step["step"] for step in card["steps"]]

    path.write_text("\n".join([*lines, '{"text": "no label"}']))
    with pytest.raises(DataError, match=r'e.jsonl:81: "toxic" must be true, false or a number'):
        built(recipe_of(tmp_path, **values), tmp_path / "refused2")
    card = built(recipe_of(tmp_path, **values, on_error="skip"), tmp_path / "out2")
    [note] = card["notes"]
    assert note.startswith("Of the toxicity step's examples 1 could not be read: ")
    assert reasons(card, "toxicity") == {}


def test_wrong_examples_are_told_before_the_sources_are_read(tmp_path):
    """A row of the source is broken, too; the examples' fault comes first."""
    (tmp_path / "a.jsonl").write_text("{broken")
    (tmp_path / "e.jsonl").write_text('{"text": "a"}\n')
    values = {"sources": [{"name": "a", "files": str(tmp_path / "a.jsonl")}],
              "toxicity": {"files": str(tmp_path / "e.jsonl")}}  # fmt: skip
    with pytest.raises(DataError, match="e.jsonl:1"):
        built(recipe_of(tmp_path, **values), tmp_path / "out")
