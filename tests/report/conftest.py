"""A made-up run folder with believable curves: `write_run(folder)`, and the fixtures around it."""

import json
import math
import random
from pathlib import Path

import pytest

MODELS = ["gpt", "gpt_prompted", "sft", "ppo", "ppo_ptx"]
TAXED = ["gpt", "sft", "ppo", "ppo_ptx"]
GOLD = dict(zip(MODELS, (0.31, 0.42, 0.55, 0.71, 0.72), strict=True))
USE_CASES = ["generation", "open_qa", "brainstorming", "chat", "rewriting", "closed_qa"]
NUM_STEPS = 60


def estimate(mean, spread=0.05, n=40):
    return {"mean": mean, "low": max(0.0, mean - spread), "high": min(1.0, mean + spread), "n": n}


def wide(mean, spread, n=40):
    return {"mean": mean, "low": mean - spread, "high": mean + spread, "n": n}


def pairs(right, longer):
    return {"accuracy_on_labels": estimate(right), "longer_wins": estimate(longer, 0.06)}


def make_results():
    draw = random.Random(1)
    wins = dict(zip(MODELS, (0.213, 0.302, 0.5, 0.731, 0.742), strict=True))
    rates = {
        "hallucination": (0.41, 0.36, 0.24, 0.27, 0.19),
        "hallucination_of_claims": (0.62, 0.55, 0.41, 0.44, 0.3),
        "constraint": (0.27, 0.34, 0.48, 0.66, 0.64),
        "polite": (0.55, 0.68, 0.86, 0.97, 0.95),
        "task": (0.33, 0.47, 0.68, 0.83, 0.84),
        "ending": (0.58, 0.77, 0.93, 0.99, 0.98),
    }

    def compared(mean):
        counts = {"wins": 25, "ties": 9, "losses": 6}
        return estimate(mean, 0.04) | counts | {"length_controlled": estimate(mean - 0.05, 0.06)}

    def scores():
        return {m: estimate(min(0.97, GOLD[m] + draw.uniform(-0.1, 0.1)), 0.08) for m in MODELS}

    return {
        "schema_version": 1,
        "recipe": "miniature",
        "seed": 0,
        "judge": "miniature",
        "models": MODELS,
        "gold_score": {m: estimate(GOLD[m], 0.03) for m in MODELS},
        "win_rate": {f"{m}_vs_sft": compared(wins[m]) for m in MODELS if m != "sft"}
        | {"sft_vs_gpt_prompted": compared(0.811)},
        "rates": {
            m: {rate: estimate(values[i]) for rate, values in rates.items()}
            for i, m in enumerate(MODELS)
        },
        "measures": {
            m: {
                "length_tokens": wide(12.3 + i, 1.0),
                "repetition": estimate(0.061 - i / 100, 0.01),
                "distinct_words": estimate(0.88 + i / 100, 0.01),
                "reference_perplexity": wide(7.5 - i / 2, 0.5),
            }
            for i, m in enumerate(MODELS)
        },
        "by_use_case": {use_case: scores() for use_case in USE_CASES},
        "held_out": {"entities": scores(), "neither": scores(), "phrasings": scores()},
        "reward_model": {
            "accuracy_on_labels": estimate(0.724, 0.02),
            "accuracy_on_gold": estimate(0.833, 0.02),
            "labeler_agreement": estimate(0.729, 0.02),
            "longer_wins": estimate(0.547, 0.02),
            "by_labeler": {f"heldout-{i}": pairs(0.68 + i / 50, 0.55) for i in range(3)},
            "by_use_case": {use_case: pairs(0.72, 0.53) for use_case in USE_CASES},
            "by_source": {"sft": pairs(0.71, 0.56), "sft / ppo_ptx": pairs(0.77, 0.61)},
            "probes": {
                probe: {
                    "score_change": wide(4 * (share - 0.5), 0.2),
                    "scores_higher": estimate(share),
                }
                for probe, share in (("repeated", 0.31), ("boilerplate", 0.81), ("empty", 0.02))
            },
            "num_comparisons": 20123,
            "demonstration_mean": -0.0004,
            "calibration": [
                {"predicted": p / 10, "observed": 0.5 + (p / 10 - 0.5) * 0.9, "n": 40 + 12 * p}
                for p in range(1, 10)
            ],
        },
        "alignment_tax": {
            "pretraining_loss": {
                m: wide(v, 0.03) for m, v in zip(TAXED, (1.612, 1.745, 2.104, 1.668), strict=True)
            },
            "tasks": {
                task: {m: estimate(v - t / 20) for m, v in zip(TAXED, (0.91, 0.84, 0.62, 0.89),
                                                               strict=True)}
                for t, task in enumerate(("facts", "next_in_order"))
            },
            "note": "Held-out loss in nats per token.",
        },
        "timing": {"pretrain": 95.2, "sft": 14.0, "reward": 31.5, "ppo": 61.0, "ppo_ptx": 77.7},
        "peak_memory_bytes": 1_530_000_000,
        "versions": {"torch": "2.13.0", "transformers": "5.19.0"},
        "machine": {"cpu_threads": 2, "processor": "x86_64"},
        "alarms": [],
    }  # fmt: skip


def write_lines(path: Path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_run(folder: Path) -> Path:
    """Write a whole run into a folder that does not exist."""
    folder.mkdir(parents=True)
    draw = random.Random(0)
    stages = "".join(f"{stage}: {{}}\n" for stage in ("pretrain", "sft", "reward", "ppo"))
    (folder / "recipe.yaml").write_text(f"name: demo\nseed: 0\n{stages}ppo_ptx: {{}}\n")
    write_supervised(folder, draw)
    for stage in ("ppo", "ppo_ptx"):
        write_reinforcement(folder, stage, draw)
    write_data(folder)
    for model in MODELS:
        rows = [answer(model, i, draw) for i in range(40)]
        write_lines(folder / f"evaluation/responses-{model}.jsonl", rows)
    write_json(folder / "evaluation/results.json", make_results())
    return folder


def write_supervised(folder: Path, draw):
    def curve(stage, num_steps, start, end, every):
        for step in range(1, num_steps + 1):
            loss = end + (start - end) * math.exp(-6 * step / num_steps)
            row = {"step": step, f"{stage}/loss": loss + draw.gauss(0, 0.03)}
            if step % every == 0:
                row[f"{stage}/valid_loss"] = loss + 0.04
                row[f"{stage}/valid_accuracy"] = 0.73 - 0.2 * math.exp(-5 * step / num_steps)
            yield row

    write_lines(folder / "pretrain/metrics.jsonl", curve("pretrain", 700, 5.9, 1.6, 100))
    write_lines(folder / "sft/metrics.jsonl", curve("sft", 90, 2.4, 0.7, 30))
    write_lines(folder / "reward/metrics.jsonl", curve("reward", 120, 0.69, 0.55, 20))
    write_json(folder / "pretrain/done.json", {"seconds": 95.2, "summary": {"valid_loss": 1.64}})
    kept = {"valid_loss": 0.74, "chosen_step": 60, "chosen_by": "valid_loss"}
    write_json(folder / "sft/done.json", {"seconds": 14.0, "summary": kept})
    write_json(folder / "reward/done.json", {"seconds": 31.5, "summary": {"valid_accuracy": 0.724}})


def write_reinforcement(folder: Path, stage: str, draw):
    pull = 1.0 if stage == "ppo" else 0.55
    rows = []
    for step in range(1, NUM_STEPS + 1):
        done = step / NUM_STEPS
        row = {
            "step": step,
            "ppo/score_mean": 2.1 * pull * (1 - math.exp(-3 * done)) + draw.gauss(0, 0.05),
            "ppo/ref_kl": 18 * pull * done**1.4 + abs(draw.gauss(0, 0.2)),
            "ppo/length_mean": 14 + 5 * pull * done + draw.gauss(0, 0.3),
            "ppo/entropy": 0.9 - 0.5 * pull * done + draw.gauss(0, 0.01),
            "ppo/clip_fraction": 0.04 + abs(draw.gauss(0, 0.02)),
            "ppo/value_loss": 0.9 * math.exp(-8 * done) + 0.05 + abs(draw.gauss(0, 0.01)),
            "ppo/truncated_fraction": abs(draw.gauss(0, 0.01)),
        }
        if step % 5 == 0:
            over = max(0.0, done - 0.6) * (0.6 if stage == "ppo" else 0.05)
            row["ppo/valid_judge_score"] = 0.55 + 0.2 * (1 - math.exp(-4 * done)) - over
            row["ppo/valid_score"] = 2.0 * pull * (1 - math.exp(-3 * done))
            row["ppo/valid_pretraining_loss"] = 1.74 + (0.5 * done if stage == "ppo" else -0.08)
        rows.append(row)
    write_lines(folder / stage / "metrics.jsonl", rows)
    sample = {"prompt": "tell me a story about mia.", "response": "sure. mia ran.", "ref_kl": 2.0}
    write_lines(
        folder / stage / "samples.jsonl",
        [
            sample | {"step": step, "kind": kind, "score": score}
            for step in (1, 40, NUM_STEPS)
            for kind, score in (("best", 1.9), ("worst", -1.2))
        ],
    )
    look = {"ppo/look": 0.0, "ppo/valid_judge_score": 0.55, "ppo/valid_score": 0.0}
    summary = {"chosen_step": 40, "valid_judge_score": 0.741, "looks": [look]}
    write_json(folder / stage / "done.json", {"seconds": 61.0, "summary": summary})


def write_data(folder: Path):
    write_lines(
        folder / "data/corpus-train.jsonl",
        [{"text": f"a page of text number {i}", "source": "s"} for i in range(5)],
    )
    write_lines(
        folder / "data/demonstrations-train.jsonl",
        [{"prompt": "who is mia?", "response": "mia is a cat."}],
    )
    example = {"prompt": "rank me", "responses": ["first", "second", "third"]}
    write_lines(
        folder / "data/rankings-valid.jsonl",
        [
            example | {"ranks": [2, 1, 3], "labeler": "lara"},
            example | {"ranks": [1, 1, 2], "labeler": "otto"},
        ],
    )


def answer(model: str, index: int, draw):
    part = float(draw.random() < GOLD[model])
    return {
        "index": index,
        "prompt": f"prompt number {index}",
        "user": "u",
        "use_case": USE_CASES[index % len(USE_CASES)],
        "heldout_entity": False,
        "heldout_phrasing": False,
        "response": f"{model} says {index}.",
        "num_tokens": 4,
        "finished": index != 2,
        "judgement": {
            "score": 0.2 + 0.7 * part,
            "parts": {"task": part, "constraint": None, "truth": 0.5, "polite": 1.0, "ending": 0.0},
        },
        "score": 0.3,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A whole run, to be changed at will."""
    return write_run(tmp_path / "demo")


@pytest.fixture
def results():
    """Results that keep the schema, to be changed at will."""
    return make_results()


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> str:
    """The page of a whole run, for tests that only read it."""
    from preceptor.report import write_report

    return write_report(write_run(tmp_path_factory.mktemp("whole") / "demo")).read_text()
