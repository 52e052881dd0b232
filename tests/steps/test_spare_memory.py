"""`sft.spare_memory` reaches every step that samples from finished models."""

from pathlib import Path

from preceptor.generation import engine
from preceptor.pipeline import run_pipeline
from preceptor.recipes import load_recipe
from preceptor.steps.best_of_n import best_of_n
from preceptor.steps.responses import responses_of_models

TINY = Path(__file__).parents[1] / "tiny.yaml"


def test_steps_between_the_stages_spare_memory_as_sft_does(tmp_path, monkeypatch):
    copies, heaps, fast = [], [], engine.fast_steps
    monkeypatch.setattr(
        engine,
        "fast_steps",
        lambda model, spare: copies.append(spare) or fast(model, spare),
    )
    monkeypatch.setattr(
        "preceptor.pipeline.keep_freed_memory", lambda spare=False: heaps.append(spare)
    )
    small = ["ppo=null", "ppo_ptx=null", "sft.num_epochs=1", "sft.spare_memory=true"]
    recipe = load_recipe(str(TINY), small)

    def told(*steps):
        copies.clear()
        heaps.clear()
        run_pipeline(recipe, tmp_path / "run", only=list(steps))
        return set(copies), heaps[-1]

    assert told("data", "pretrain") == ({False}, False)
    assert told("sft")[1]
    assert told("sample") == ({True}, True)
    assert told("rank", "reward") == (set(), False)  # the reward model's own key
    assert told("evaluate") == ({True}, True)
    copies.clear()
    best_of_n(recipe, tmp_path / "run", "sft", 2)
    models = {"sft": tmp_path / "run" / "sft" / "model"}
    asked = ["who is there ?"]
    responses_of_models(recipe, models, asked, num_responses=2, temperature=1.0, seed=0)
    assert copies == [True, True]
