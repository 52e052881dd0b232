"""A user's own model folder and files, by the recipe that the README shows, through every stage."""

import json
import random
from pathlib import Path

import pytest
from toys import tiny_model, tiny_tokenizer

from preceptor.data.records import manifest_path, write_records
from preceptor.errors import RecipeError
from preceptor.models import save_model
from preceptor.pipeline import run_pipeline
from preceptor.recipes import load_recipe
from preceptor.recipes.files import require_files

SMALL = """
seed: 1
num_threads: 1
max_prompt_tokens: 24
max_response_tokens: 12
sample: {min_responses: 4, max_responses: 4}
reward: {batch_prompts: 4, min_accuracy: 0}
ppo_ptx:
  num_iterations: 2
  value_warmup_iterations: 1
  batch_size: 8
  num_minibatches: 2
  ptx_sequence_length: 16
"""


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(count))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a person has: a model, demonstrations, and for PPO-ptx some text."""
    rng = random.Random(0)
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path / "my-model")
    rows = [{"prompt": words(rng, 5), "response": words(rng, 4)} for _ in range(60)]
    (tmp_path / "my-demonstrations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "my-text.txt").write_text("\n\n".join(words(rng, 40) for _ in range(40)))
    return tmp_path


def run(folder: Path, *overrides: str) -> dict:
    """The README's three lines, and whatever makes it small enough for a test."""
    (folder / "mine.yaml").write_text(
        f"extends: smollm2\nmodel: {folder / 'my-model'}\n"
        f"demonstrations: {folder / 'my-demonstrations.jsonl'}\n{SMALL}"
    )
    report = run_pipeline(load_recipe(str(folder / "mine.yaml"), overrides), folder / "run")
    assert report.read_text().startswith("<!doctype html>")
    found: dict = json.loads((folder / "run" / "evaluation" / "results.json").read_text())
    return found


def test_three_lines_train_a_model_of_ones_own(folder: Path):
    found = run(folder, f"corpus={folder / 'my-text.txt'}")
    assert found["recipe"] == "mine"
    assert found["models"] == ["gpt", "gpt_prompted", "sft", "ppo_ptx"]
    assert set(found["alignment_tax"]["pretraining_loss"]) == {"gpt", "sft", "ppo_ptx"}
    assert (folder / "run" / "ppo_ptx" / "model" / "model.safetensors").is_file()


def test_an_exported_file_that_was_changed_since_is_refused(folder: Path):
    """By the hash in its name, where its manifest stands beside it; another name is a new file."""
    rows = [{"prompt": "a", "response": f"b {n}"} for n in range(3)]
    digest = write_records(folder / "rows.jsonl", rows)
    path = folder / f"demonstrations-train-{digest[:12]}.jsonl"
    (folder / "rows.jsonl").rename(path)
    mine = ("smollm2", [f"model={folder / 'my-model'}", "corpus=null", "ppo_ptx.ptx_coef=0"])
    mine[1].extend(["max_prompt_tokens=24", "max_response_tokens=12"])
    recipe = load_recipe(mine[0], [*mine[1], f"demonstrations={path}"])
    require_files(recipe)
    manifest_path(path).write_text("{}")
    require_files(recipe)
    for changed in (path.read_bytes()[:-5], path.read_bytes().replace(b"b 1", b"b 7")):
        path.write_bytes(changed)
        with pytest.raises(RecipeError, match="demonstrations is .*: not the file that was"):
            run_pipeline(recipe, folder / "refused")
    assert not (folder / "refused").exists()
    path.rename(folder / "mine.jsonl")
    require_files(load_recipe(mine[0], [*mine[1], f"demonstrations={folder / 'mine.jsonl'}"]))


def test_rankings_of_ones_own_take_the_place_of_sampling_and_labelers(folder: Path):
    rng = random.Random(1)
    rows = [
        {
            "prompt": words(rng, 5),
            "responses": [words(rng, n) for n in (2, 3, 4)],
            "ranks": [1, 2, 2],
            "labeler": f"person-{i % 3}",
        }
        for i in range(40)
    ]
    (folder / "r.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = run(folder, f"rankings={folder / 'r.jsonl'}", "corpus=null", "ppo_ptx.ptx_coef=0")
    assert found["reward_model"]["num_comparisons"] > 50
    assert not (folder / "run" / "data" / "responses-train.jsonl").exists()
