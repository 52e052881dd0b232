"""Figures of each model, by hand, and whether their intervals know what belongs together."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from browsers import Clock, make_project
from people import add_labeler, add_prompt, fill_in
from typer.testing import CliRunner, Result

from preceptor.cli import app
from preceptor.errors import StoreError
from preceptor.labeling.identity import names_a_model
from preceptor.labeling.results import (
    Figure,
    figures_against,
    figures_of,
    judgements_of,
    read_results,
    strengths_of,
)
from preceptor.statistics import Estimate
from preceptor.store.database import Store
from preceptor.store.inbox import set_accepts_sensitive
from preceptor.store.labels import submit
from preceptor.store.projects import (
    Candidate,
    ProjectOptions,
    add_policy,
    add_tasks,
    create_project,
)
from preceptor.store.queue import claim

KINDER = {"toxicity": 0, "relative_toxicity": -1, "continuity": 6}
RUDER = {"toxicity": 2, "relative_toxicity": 1, "continuity": 3}


def record(
    prompt: str,
    labeler: str,
    rated: list[tuple[str, dict[str, int], int]],
    given: int = 1,
    texts: list[str] | None = None,
    unacceptable: str = "",
    display_order: str = "",
) -> dict[str, Any]:
    """A line of an export: each response's model, ratings and rank."""
    slots = dict(zip("ABCD", rated, strict=False))
    return {
        "labeler": labeler,
        "responses": texts or ["a text"] * len(rated),
        "ranks": [rank for _, _, rank in rated],
        "meta": {
            "prompt_id": prompt,
            "labeler_group": "training",
            "input_toxicity": given,
            "unacceptable": list(unacceptable),
            "display_order": list(display_order),
            "ratings": {slot: rating for slot, (_, rating, _) in slots.items()},
            "slots": {slot: {"policy": policy(name)} for slot, (name, _, _) in slots.items()},
        },
    }


def policy(name: str) -> dict[str, str] | None:
    run, _, model = name.rpartition("/")
    run, _, weights = run.partition("@")
    return {"name": model, "run": run, "weights_sha256": weights} if name else None


def means(records: list[dict[str, Any]]) -> dict[tuple[str, str], float | None]:
    return {(f.model, f.measure): f.estimate.mean for f in figures_of(judgements_of(records), ())}


def against(records: list[dict[str, Any]], baseline: str) -> dict[tuple[str, str], Figure]:
    return {(f.model, f.measure): f for f in figures_against(baseline, judgements_of(records))}


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
    assert {measure for _, measure in found} == {
        "input_toxicity", "toxicity", "relative_toxicity", "continuity", "preferred"
    }  # fmt: skip


def test_flags_are_shares_of_those_that_answered():
    def flagged(*answers: dict[str, bool | None]) -> dict[str, Any]:
        models = ("sft", "ppo")
        rated = [(m, {"flags": a}, 1) for m, a in zip(models, answers, strict=True)]
        return record("p", "ann", rated)  # type: ignore[arg-type]

    records = [
        flagged({"wrong": True, "kept": None, "old": True}, {"wrong": False, "kept": True}),
        flagged({"wrong": False, "kept": None}, {"wrong": False, "kept": False}),
    ]
    figures = figures_of(judgements_of(records), ["wrong", "kept"])
    found = {(f.model, f.words): f.estimate.mean for f in figures if f.measure == "flag"}
    assert found == {
        ("sft", "flag wrong"): 0.5,
        ("ppo", "flag wrong"): 0.0,
        ("ppo", "flag kept"): 0.5,
    }


def test_against_a_baseline_each_label_is_one_outcome():
    records = [
        record("p", "ann", [("sft", {}, 2), ("ppo", {}, 1), ("gpt", {}, 2)], unacceptable="AC"),
        record("p", "bob", [("sft", {}, 1), ("ppo", {}, 1), ("gpt", {}, 3)]),
        record("q", "ann", [("sft", {}, 2), ("ppo", {}, 1), ("ppo", {}, 3)]),
        record("q", "bob", [("gpt", {}, 1), ("ppo", {}, 2)]),  # no word on the baseline
    ]
    found = {key: figure.estimate.mean for key, figure in against(records, "sft").items()}
    assert [found["ppo", name] for name in ("win", "tie", "loss")] == [1.5 / 3, 1 / 3, 0.5 / 3]
    assert found["ppo", "win_rate"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert (found["gpt", "both_bad"], found["gpt", "loss"]) == (0.5, 0.5)
    assert ("ppo", "both_bad") not in found  # nobody had such a tie
    assert not [model for model, _ in found if model == "sft"]
    unacceptable = means(records)
    assert unacceptable["sft", "unacceptable"] == pytest.approx(1 / 3)


def test_who_wins_by_length_alone_wins_half_at_equal_length():
    draws = random.Random(0)
    records = []
    for i in range(400):
        lengths = [draws.randrange(20, 200), draws.randrange(60, 240)]
        first = draws.random() < 1 / (1 + 2.718 ** ((lengths[1] - lengths[0]) / 40))
        rated = [("sft", {}, 1 if first else 2), ("ppo", {}, 2 if first else 1)]
        texts = ["x" * length for length in lengths]
        records.append(record(f"p{i}", "ann", rated, texts=texts))  # type: ignore[arg-type]
    found = against(records, "sft")
    raw, equal = found["ppo", "win_rate"].estimate, found["ppo", "equal_length"].estimate
    assert raw.low is not None and raw.low > 0.6
    assert equal.low is not None and equal.high is not None and equal.low < 0.5 < equal.high
    seen = found["ppo", "detectable"].estimate.mean
    assert seen is not None and seen == pytest.approx(2.8 * (raw.high - raw.low) / 3.92, rel=0.1)  # type: ignore[operator]


def test_strengths_say_who_was_never_compared():
    records = [record(f"p{i}", "ann", [("sft", {}, 2), ("ppo", {}, 1)]) for i in range(6)]
    records += [record(f"p{i}", "ann", [("sft", {}, 1), ("ppo", {}, 2)]) for i in range(6, 8)]
    records += [record(f"p{i}", "ann", [("a/x", {}, 2), ("b/x", {}, 1)]) for i in range(8)]
    figures, islands = strengths_of(judgements_of(records))
    found = {figure.model: figure.estimate for figure in figures}
    assert sorted(islands) == [("ppo", "sft"), ("x of a", "x of b")]
    # Six of eight: a strength of ln(3) apart, but for the ridge, and around 0.
    assert found["ppo"].mean == pytest.approx(0.5 * 1.0986, abs=0.01)
    assert found["sft"].mean == pytest.approx(-found["ppo"].mean)
    assert found["x of b"].mean > 1.5  # never lost


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


@pytest.mark.parametrize(
    ("one", "other", "called"),
    [
        ("/x/run@abc/sft", "run@abc/sft", {"sft"}),  # the same weights, wherever they lie
        ("run@abcdefabcdef/sft", "run@123456123456/sft", {"sft abcdefab", "sft 12345612"}),
        ("a@abc/sft", "b@123/sft", {"sft of a", "sft of b"}),
        ("a@abc/sft", "a@abc/ppo", {"sft", "ppo"}),
    ],
)
def test_a_model_is_its_weights(one: str, other: str, called: set[str]):
    found = judgements_of([record("p", "ann", [(one, KINDER, 1), (other, RUDER, 2)])])
    assert set(found[0].models) == called


def test_strengths_are_those_at_equal_places():
    """One model mostly stands first, and labelers take what stands first three times of four."""
    draws = random.Random(0)
    records = []
    for i in range(400):
        swapped, first_wins = draws.random() < 0.2, draws.random() < 0.75
        order = "BA" if swapped else "AB"
        wins_a = first_wins != swapped
        rated = [("sft", {}, 1 if wins_a else 2), ("ppo", {}, 2 if wins_a else 1)]
        records.append(record(f"p{i}", "ann", rated, display_order=order))  # type: ignore[arg-type]

    def strength(given: list[dict[str, Any]]) -> Estimate:
        figures, _ = strengths_of(judgements_of(given))
        return {figure.model: figure.estimate for figure in figures}["sft"]

    corrected = strength(records)
    assert corrected.low is not None and corrected.high is not None
    assert corrected.low < 0 < corrected.high
    for one in records:
        one["meta"]["display_order"] = []
    unknown = strength(records)
    assert unknown.low is not None and unknown.low > 0.2


def test_a_flag_that_nobody_gave_has_an_interval():
    rated = [("sft", {"flags": {"odd": False}}, 1)]
    records = [record(f"{p}", f"l{p % 5}", rated) for p in range(200)]  # type: ignore[arg-type]
    [found] = [f for f in figures_of(judgements_of(records), ["odd"]) if f.measure == "flag"]
    assert (found.estimate.mean, found.estimate.low) == (0, 0)
    assert found.estimate.high == pytest.approx(0.0188, abs=1e-3)  # Wilson's, 0 of 200


def test_labels_that_belong_together_make_the_interval_no_narrower():
    """Eight labelers who see the same in each of 20 prompts are not 160 prompts."""
    draws = random.Random(0)
    values = [draws.choice((KINDER, RUDER)) for _ in range(20)]

    def width(records: list[dict[str, Any]]) -> float:
        figures = figures_of(judgements_of(records), ())
        [found] = [f.estimate for f in figures if f.measure == "toxicity"]
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


def test_the_command_compares_with_a_baseline(store: Store, clock: Clock):
    """Two labelers prefer the one model; one of them says that the prompt is closed-domain."""
    with store.write() as session:
        project = create_project(
            session, "r", "evaluation", ProjectOptions(purpose="eval", overlap=2), now=clock.at
        )
        sft, ppo = (
            add_policy(session, name, run="r", weights_sha256=name[0] * 64)
            for name in ("sft", "ppo")
        )
        prompt = add_prompt(session, "Why?")
        responses = [Candidate(text, policy) for text, policy in (("It is.", sft), ("So.", ppo))]
        add_tasks(session, project, {prompt: responses})
        for name in ("ann", "bob"):
            account = add_labeler(session, store, name)
            held = claim(session, project, account, now=clock.at)
            assert held is not None
            best = str(1 + list(held.responses).index("So."))
            form = {
                "ratings": {p: {"likert": 3, "flags": {"hallucination": p == best}} for p in "12"},
                "rank_groups": [[best], [str(3 - int(best))]],
                "prompt_labels": {"closed_domain": name == "ann"},
            }
            submit(session, held.id, account, key=held.key, form=form, now=clock.at)

    def results(*options: str) -> Result:
        where = ["--split", "train", "--store", str(store.engine.url.database)]
        return CliRunner().invoke(app, ["label", "results", "r", *where, *options])

    shown = results()
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert shown.stdout.splitlines()[:3] == [
        "r, train: labels 2, of prompts 1, by labelers 2",
        "labelers: training 2 labels",
        "the baseline is sft",
    ]
    assert "of 2 labelers only: intervals are rough" in shown.stderr
    assert ["flag", "hallucination", "1.00"] in [line[:3] for line in lines]
    assert ["wins", "against", "the", "baseline", "1.00"] in [line[:5] for line in lines]
    assert "not known: 2 outcomes; length control needs at least 100" in shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80
    printed = results("--baseline", "ppo", "--prompt-label", "closed_domain", "--json").stdout
    other = json.loads(printed)
    assert (other["baseline"], other["num_labels"]) == ("ppo", 1)
    assert other["left_out"] == {"prompt not said to be closed_domain": 1}
    found = {(f["model"], f["measure"]): f["mean"] for f in other["figures"]}
    assert found["sft", "win_rate"] == 0
    assert found["ppo", "strength"] == pytest.approx(-found["sft", "strength"])
    assert found["ppo", "likert"] == 3
    assert all({"n", "clusters", "method"} <= f.keys() for f in other["figures"])
    assert json.loads(results("--split", "all", "--json").stdout)["num_labels"] == 2
    for options, told in (
        (["--split", "test"], "no label counts in split test yet. There are 2 in train: --split"),
        (["--group", "heldout"], "Left out: 2 of training labelers"),
        (["--baseline", "gpt"], "compares no model 'gpt'; it compares ppo, sft"),
        (["--prompt-label", "odd"], "asks no odd of prompts; it asks ambiguous"),
    ):
        refused = results(*options)
        assert refused.exit_code != 0 and told in " ".join(refused.stderr.split())


def test_rankings_that_name_no_model_say_nothing_of_any(store: Store, tmp_path: Path, clock: Clock):
    """The plain public record: a prompt, responses and ranks."""
    path = tmp_path / "rk.jsonl"
    line = {"prompt": "Why?", "responses": ["So.", "It is."], "ranks": [1, 2], "user": "u"}
    path.write_text(json.dumps(line))
    where = ["--store", str(store.engine.url.database)]
    declared = ["--kind", "rankings", "--licence", "CC0", "--consent", "the writers agreed"]
    CliRunner().invoke(app, ["label", "import", str(path), *declared, *where])
    shown = CliRunner().invoke(
        app, ["label", "results", "imported rankings", "--split", "all", *where]
    )
    assert shown.exit_code == 2
    assert "nothing is said of any" in " ".join(shown.stderr.split())


def test_of_what_compares_no_models_there_are_no_results(store: Store, clock: Clock):
    make_project(store, "demonstration", name="d")
    with store.read() as session:
        for name, told in (("d", "no models are compared"), ("e", "no such project")):
            with pytest.raises(StoreError, match=told):
                read_results(session, name, "test", now=clock.at)
