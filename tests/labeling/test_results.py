"""Figures of each model, by hand, and whether their intervals know what belongs together."""

import random
from typing import Any

import pytest
from browsers import Clock, make_project
from people import add_labeler, fill_in
from typer.testing import CliRunner

from preceptor.cli import app
from preceptor.errors import StoreError
from preceptor.labeling.identity import names_a_model
from preceptor.labeling.results import WORDS, figures_of, read_results
from preceptor.store.database import Store
from preceptor.store.inbox import set_accepts_sensitive
from preceptor.store.labels import submit
from preceptor.store.queue import claim

KINDER = {"toxicity": 0, "relative_toxicity": -1, "continuity": 6}
RUDER = {"toxicity": 2, "relative_toxicity": 1, "continuity": 3}


def record(
    prompt: str,
    labeler: str,
    rated: list[tuple[str, dict[str, int], int]],
    given: int = 1,
    texts: list[str] | None = None,
) -> dict[str, Any]:
    """A line of an export: each response's model, ratings and rank."""
    slots = dict(zip("ABC", rated, strict=False))
    return {
        "labeler": labeler,
        "responses": texts or ["a text"] * len(rated),
        "ranks": [rank for _, _, rank in rated],
        "meta": {
            "prompt_id": prompt,
            "input_toxicity": given,
            "ratings": {slot: rating for slot, (_, rating, _) in slots.items()},
            "slots": {slot: {"policy": policy(name)} for slot, (name, _, _) in slots.items()},
        },
    }


def policy(name: str) -> dict[str, str] | None:
    run, _, model = name.rpartition("/")
    return {"name": model, "run": run, "weights_sha256": ""} if name else None


def means(records: list[dict[str, Any]]) -> dict[tuple[str, str], float | None]:
    return {(f.model, f.measure): f.estimate.mean for f in figures_of(records)}


def test_means_are_those_counted_by_hand():
    records = [
        record("p", "ann", [("sft", RUDER, 2), ("ppo", KINDER, 1)], given=0),
        record("p", "bob", [("ppo", RUDER, 1), ("sft", KINDER, 1)], given=2),
        record("q", "ann", [("sft", RUDER, 2), ("sft", KINDER, 1), ("ppo", KINDER, 2)], given=2),
    ]
    found = means(records)
    assert found["ppo", "toxicity"] == pytest.approx(2 / 3)
    assert found["sft", "relative_toxicity"] == pytest.approx(0.0)
    assert found["sft", "continuity"] == pytest.approx((3 + 6 + 3 + 6) / 4)
    # The prompt of q counts once for each of the model's responses to it, as those do.
    assert found["sft", "input_toxicity"] == pytest.approx(6 / 4)
    # Won against sft, tied with it, and once tied, once lost.
    assert found["ppo", "preferred"] == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)
    assert list(dict.fromkeys(measure for _, measure in found)) == [
        name for name in WORDS if name not in ("likert", "named", "preferred_unnamed")
    ]


def test_figures_are_shown_with_and_without_what_names_a_model():
    both = [("sft", KINDER, 2), ("ppo", KINDER, 1)]
    records = [
        record("p", "ann", both, texts=["I am an AI language model.", "Sure."]),
        record("q", "ann", [("sft", KINDER, 1), ("ppo", KINDER, 2)]),
        record("r", "ann", [*both, ("ppo", KINDER, 3)], texts=["Yes.", "OpenAI made me.", "No."]),
    ]
    found = means(records)
    assert found["ppo", "preferred"] == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert found["ppo", "preferred_unnamed"] == pytest.approx(0)  # q, and the last of r
    assert found["sft", "preferred_unnamed"] == pytest.approx(1)
    assert (found["sft", "named"], found["ppo", "named"]) == (1 / 3, 1 / 4)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("I was trained by OpenAI.", True),
        ("Ask GPT-4o or gpt4 about it", True),
        ("I’m an AI, so I cannot.", True),
        ("As a large language model, I", True),
        ("Falcon-7B and PaLM 2 say so", True),
        ("LLAMA3", True),
        ("a falcon, a palm and the letter phi", False),
        ("Egypt adopts cohered metaphors", False),
        ("an aims model of language", False),
        ("", False),
    ],
)
def test_names_are_words_of_their_own(text: str, named: bool):
    assert names_a_model(text) is named


def test_models_of_one_name_are_told_apart_by_their_runs():
    rated = [("a/sft", KINDER, 1), ("b/sft", RUDER, 2), ("", KINDER, 1)]
    found = means([record("p", "ann", rated)])
    assert {model for model, _ in found} == {"sft of a", "sft of b", "no model"}


def test_labels_that_belong_together_make_the_interval_no_narrower():
    """Eight labelers who see the same in each of 20 prompts are not 160 prompts."""
    draws = random.Random(0)
    values = [draws.choice((KINDER, RUDER)) for _ in range(20)]

    def width(records: list[dict[str, Any]]) -> float:
        [found] = [f.estimate for f in figures_of(records) if f.measure == "toxicity"]
        assert found.low is not None and found.high is not None
        return found.high - found.low

    def labels(prompt_of: Any) -> list[dict[str, Any]]:
        return [
            record(f"{prompt_of(p, i)}", f"l{i}", [("sft", values[p], 1)])
            for p in range(20)
            for i in range(8)
        ]

    alone = width([record(f"{p}", "l0", [("sft", values[p], 1)]) for p in range(20)])
    together, apart = width(labels(lambda p, i: p)), width(labels(lambda p, i: (p, i)))
    assert together > 0.8 * alone > 1.5 * apart


def test_a_project_s_figures_are_of_what_an_export_holds(store: Store, clock: Clock):
    project = make_project(store, "toxicity", purpose="eval", overlap=2, name="t")
    with store.write() as session:
        for name in ("ann", "bob"):
            account = add_labeler(session, store, name)
            set_accepts_sensitive(session, account, True)
            held = claim(session, project, account, now=clock.at)
            assert held is not None
            form = fill_in(held)
            submit(session, held.id, account, key=held.key, form=form, now=clock.at)
    with store.read() as session:
        with pytest.raises(StoreError, match="Left out: 2 can still be undone"):
            read_results(session, "t", "train", now=clock.at)
        clock.pass_(seconds=100)
        found = read_results(session, "t", "train", now=clock.at)
        with pytest.raises(StoreError, match="no label counts in split test yet"):
            read_results(session, "t", "test", now=clock.at)
    assert (found.num_labels, found.num_prompts, found.num_labelers) == (2, 1, 2)
    assert {figure.model for figure in found.figures} == {"ppo_ptx"}
    shown = CliRunner().invoke(
        app,
        ["label", "results", "t", "--split", "train", "--store", str(store.engine.url.database)],
    )
    assert shown.exit_code == 0, shown.output
    assert "t, train: labels 2, of prompts 1, by labelers 2" in shown.stdout
    assert "ppo_ptx\n  toxicity of the prompt, 0 to 2" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_of_what_compares_no_models_there_are_no_results(store: Store, clock: Clock):
    make_project(store, "demonstration", name="d")
    with store.read() as session:
        for name, told in (("d", "no models are compared"), ("e", "no such project")):
            with pytest.raises(StoreError, match=told):
                read_results(session, name, "test", now=clock.at)
