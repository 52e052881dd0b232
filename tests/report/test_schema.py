"""results.json keeps its schema, and a deviation is refused by its place."""

import json
import re

import pytest

from preceptor.errors import DataError
from preceptor.evaluation import probes
from preceptor.report import pictures, validate_results
from preceptor.report.schema import SCHEMA


def at(value, path):
    for key in path:
        value = value[key]
    return value


def test_good_results_pass(results):
    validate_results(results)


def test_every_probe_is_known_to_the_schema_and_to_the_page(results):
    one = results["reward_model"]["probes"]["empty"]
    results["reward_model"]["probes"] = dict.fromkeys(probes.PROBES, one)
    validate_results(results)
    assert tuple(pictures.PROBES) == probes.PROBES


def test_a_missing_number_may_be_null_with_a_reason(results):
    empty = {"mean": None, "low": None, "high": None, "n": 0, "reason": "nothing was judged"}
    results["gold_score"]["gpt"] = empty
    results["rates"]["gpt"]["hallucination"] = None
    results["measures"]["gpt"]["reference_perplexity"] = None
    results["reward_model"]["by_source"] = None
    validate_results(results)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gold_score.sft.mean", 1.2),
        ("gold_score.sft.n", -1),
        ("win_rate.ppo_vs_sft.ties", -1),
        ("win_rate.ppo_vs_sft.mean", "high"),
        ("win_rate.ppo_vs_sft.length_controlled", None),
        ("win_rate.ppo_vs_sft.length_controlled.mean", 1.2),
        ("rates.sft.task", "high"),
        ("rates.sft.task.mean", 1.01),
        ("rates.sft.hallucination.low", -0.1),
        ("measures.sft.repetition.high", 1.5),
        ("measures.sft.length_tokens.mean", "long"),
        ("by_use_case.chat.sft.mean", 2),
        ("held_out.entities.sft.mean", 2),
        ("reward_model.num_comparisons", 1.5),
        ("reward_model.accuracy_on_gold", 0.8),
        ("reward_model.by_labeler.heldout-0.longer_wins", None),
        ("reward_model.by_source.sft.accuracy_on_labels.mean", 1.1),
        ("reward_model.probes.empty.scores_higher.mean", 1.1),
        ("reward_model.probes.empty.score_change", 0.3),
        ("reward_model.calibration.0.observed", 1.1),
        ("alignment_tax.pretraining_loss.sft.mean", "low"),
        ("alignment_tax.tasks.facts.sft.mean", 1.1),
        ("timing.sft", None),
        ("peak_memory_bytes", -1),
        ("versions.torch", 2.13),
        ("seed", "0"),
        ("judge", "somebody"),
        ("schema_version", 2),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(results, path, value):
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    at(results, parents)[last] = value
    with pytest.raises(DataError, match=re.escape(path)):
        validate_results(results)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("", "unheard_of"),
        ("gold_score.sft", "median"),
        ("gold_score", "davinci"),
        ("win_rate", "sft_beats_gpt"),
        ("rates.sft", "toxicity"),
        ("reward_model", "loss"),
        ("reward_model.by_use_case.chat", "num_pairs"),
        ("reward_model.probes", "bribed"),
        ("held_out", "users"),
    ],
)
def test_an_unknown_key_is_refused(results, path, key):
    at(results, path.split(".") if path else [])[key] = {}
    with pytest.raises(DataError, match=key):
        validate_results(results)


def required_places(schema):
    top = [((), key) for key in schema["required"]]
    inner = ("reward_model", "alignment_tax")
    return top + [((p,), key) for p in inner for key in schema["properties"][p]["required"]]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        *required_places(json.loads(SCHEMA.read_text())),
        (("gold_score", "sft"), "low"),
        (("win_rate", "ppo_vs_sft"), "wins"),
        (("win_rate", "ppo_vs_sft"), "length_controlled"),
        (("rates", "sft"), "ending"),
        (("measures", "sft"), "repetition"),
    ],
)
def test_every_key_is_required(results, path, key):
    del at(results, path)[key]
    with pytest.raises(DataError, match=key):
        validate_results(results)


def test_fields_must_agree_with_each_other(results):
    results["win_rate"]["ppo_vs_sft"]["ties"] += 1
    with pytest.raises(DataError, match=r"win_rate\.ppo_vs_sft: wins, ties and losses"):
        validate_results(results)


def test_an_interval_turned_round_is_refused(results):
    results["gold_score"]["sft"] |= {"low": 0.6, "high": 0.5}
    with pytest.raises(DataError, match=r"gold_score\.sft: low 0\.6 is above high 0\.5"):
        validate_results(results)


def test_an_interval_inside_an_estimate_is_looked_at_too(results):
    results["win_rate"]["ppo_vs_sft"]["length_controlled"] |= {"low": 0.6, "high": 0.5}
    with pytest.raises(DataError, match=r"ppo_vs_sft\.length_controlled: low 0\.6 is above"):
        validate_results(results)


def test_every_model_has_its_figures(results):
    del results["rates"]["ppo"]
    with pytest.raises(DataError, match="rates"):
        validate_results(results)
