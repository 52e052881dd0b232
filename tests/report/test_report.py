"""The page shows what the files say, bears gaps and hostile text, and results keep their schema."""

import copy
import json
import re
from pathlib import Path

import pytest

from preceptor.errors import DataError
from preceptor.report import validate_results, write_report
from preceptor.report.report import minutes, percent

MODELS = ["gpt", "gpt_prompted", "sft", "ppo", "ppo_ptx"]
USE_CASES = ["generation", "open_qa", "chat"]


def estimate(mean, spread=0.05, n=40):
    return {"mean": mean, "low": mean - spread, "high": mean + spread, "n": n}


def results():
    gold = dict(zip(MODELS, (0.31, 0.42, 0.55, 0.78, 0.77), strict=True))
    share = {model: estimate(value) for model, value in gold.items()}
    rates = ("hallucination", "constraint", "polite", "task", "ending")
    win = {"wins": 25, "ties": 9, "losses": 6}
    return {
        "schema_version": 1,
        "recipe": "miniature",
        "seed": 0,
        "judge": "miniature",
        "models": MODELS,
        "gold_score": share,
        "win_rate": {f"{m}_vs_sft": estimate(gold[m]) | win for m in MODELS if m != "sft"}
        | {"sft_vs_gpt_prompted": estimate(0.81) | win},
        "rates": {m: {rate: estimate(0.4) for rate in rates} for m in MODELS},
        "measures": {
            m: {
                "length_tokens": estimate(12.3, 1.0),
                "repetition": estimate(0.06),
                "distinct_words": estimate(0.88),
                "reference_perplexity": estimate(7.5, 0.5),
            }
            for m in MODELS
        },
        "by_use_case": {u: share for u in USE_CASES},
        "held_out": {"entities": share, "phrasings": share, "neither": share},
        "reward_model": {
            "accuracy_on_labels": estimate(0.734),
            "accuracy_on_gold": estimate(0.812),
            "labeler_agreement": estimate(0.729),
            "longer_wins": estimate(0.547),
            "num_comparisons": 20123,
            "demonstration_mean": 0.0,
            "calibration": [{"predicted": p, "observed": p, "n": 50} for p in (0.2, 0.5, 0.8)],
        },
        "alignment_tax": {
            "pretraining_loss": {m: estimate(v, 0.01) for m, v in
                                 (("gpt", 0.9), ("sft", 1.0), ("ppo", 1.4), ("ppo_ptx", 0.95))},
            "tasks": {"facts": {m: estimate(0.7) for m in ("gpt", "sft", "ppo", "ppo_ptx")}},
            "note": "n",
        },
        "timing": {"pretrain": 95.2, "sft": 14.0},
        "peak_memory_bytes": 1_500_000_000,
        "versions": {"torch": "2.13.0"},
        "machine": {"cpu_threads": 2},
        "alarms": [],
    }  # fmt: skip


def write(path: Path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("name: demo\nseed: 0\n")
    write(
        folder / "pretrain/metrics.jsonl",
        [{"step": i, "pretrain/loss": 3 / i, "pretrain/valid_loss": 3.1 / i} for i in range(1, 30)],
    )
    write(folder / "sft/metrics.jsonl", [{"step": 1, "sft/loss": 1.0, "sft/valid_loss": 1.1}])
    write(
        folder / "reward/metrics.jsonl",
        [{"step": 1, "reward/loss": 0.6, "reward/valid_loss": 0.6, "reward/valid_accuracy": 0.7}],
    )
    for stage in ("ppo", "ppo_ptx"):
        keys = (
            "score_mean",
            "ref_kl",
            "length_mean",
            "entropy",
            "valid_judge_score",
            "valid_score",
        )
        rows = [{"step": i} | {f"ppo/{k}": i / 10 for k in keys} for i in range(1, 12)]
        write(folder / stage / "metrics.jsonl", rows)
        sample = {"step": 11, "prompt": "p", "response": "r", "score": 1.0, "ref_kl": 2.0}
        write(folder / stage / "samples.jsonl", [sample | {"kind": k} for k in ("best", "worst")])
        done = {"summary": {"chosen_step": 10}, "outputs": {}}
        (folder / stage / "done.json").write_text(json.dumps(done))
    ranking = {
        "prompt": "rank me",
        "responses": ["x", "y", "z"],
        "ranks": [2, 1, 3],
        "labeler": "l",
    }
    write(folder / "data/rankings-valid.jsonl", [ranking])
    write(folder / "data/demonstrations-train.jsonl", [{"prompt": "ask", "response": "answer"}])
    for model in MODELS:
        rows = [
            {
                "index": i,
                "prompt": f"prompt number {i}",
                "use_case": USE_CASES[i % 3],
                "response": f"{model} says {i}",
                "finished": True,
                "judgement": {"score": 0.5, "parts": {}},
            }
            for i in range(12)
        ]
        write(folder / f"evaluation/responses-{model}.jsonl", rows)
    (folder / "evaluation/results.json").write_text(json.dumps(results()))
    return folder


def test_the_results_keep_their_schema():
    validate_results(results())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["gold_score", "sft", "mean"], 1.2),
        (["win_rate", "ppo_vs_sft", "ties"], -1),
        (["models"], ["gpt", "davinci"]),
        (["rates", "sft", "task"], "high"),
        (["timing", "sft"], None),
        (["alarms"], [{"stage": "ppo"}]),
        (["unheard_of"], 1),
        (["reward_model", "num_comparisons"], 1.5),
    ],
)
def test_every_deviation_is_refused_by_place(path, value):
    broken = copy.deepcopy(results())
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DataError, match=re.escape(path[-1])):
        validate_results(broken)


@pytest.mark.parametrize("key", sorted(results()))
def test_every_key_is_required(key):
    broken = results()
    del broken[key]
    with pytest.raises(DataError, match=key):
        validate_results(broken)


def test_the_page_shows_the_numbers_of_the_files(run):
    page = write_report(run).read_text()
    for text in ("PPO-ptx is preferred to SFT on 77 %", "73 %", "20,123", "0.950", "+0.500"):
        assert text in page, text
    for model in ("GPT (prompted)", "SFT", "PPO", "PPO-ptx"):
        assert model in page
    assert "ppo_ptx says 3" in page and "gpt says 3" in page
    assert page.count("<svg") >= 9


def test_the_same_files_give_the_same_bytes(run):
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_nothing_is_loaded_from_elsewhere(run):
    page = write_report(run).read_text()
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert "<script" not in page and "@import" not in page


def test_hostile_text_stays_text(run):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    rows = [
        json.loads(x) for x in (run / "evaluation/responses-sft.jsonl").read_text().splitlines()
    ]
    write(run / "evaluation/responses-sft.jsonl", [row | {"response": evil} for row in rows])
    (run / "recipe.yaml").write_text(f"name: {evil}")
    page = write_report(run).read_text()
    assert "<script>" not in page and "<img" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("absent", ["pretrain", "sft", "reward", "ppo", "evaluation", "data"])
def test_a_run_with_gaps_still_gets_a_page(run, absent):
    import shutil

    shutil.rmtree(run / absent)
    assert "<svg" in write_report(run).read_text()


def test_alarms_stand_out(run):
    found = results()
    alarm = {"stage": "ppo", "step": 7, "name": "clip_fraction", "value": 0.61, "threshold": 0.5}
    found["alarms"] = [alarm | {"cause": "learning rate too high."}]
    (run / "evaluation/results.json").write_text(json.dumps(found))
    assert "Alarm, ppo step 7:" in write_report(run).read_text()


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a run folder"):
        write_report(tmp_path)


def test_numbers_for_people():
    assert percent({"mean": 0.735, "low": 0.7, "high": 0.781}) == "74 % (70 to 78)"
    assert percent({"mean": None, "low": None, "high": None}) == "–"
    assert minutes(75.4) == "1 min 15 s" and minutes(3.21) == "3.2 s"
