"""The real command, end to end: what it leaves, what it skips, and what survives a kill -9."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import dying
import pytest
import torch
import toys
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from preceptor.errors import DataError, RecipeError
from preceptor.evaluation.probes import PROBES
from preceptor.models.forward import make_rows, response_values
from preceptor.models.load import (
    load_policy,
    load_tokenizer,
    save_model,
    scalar_from_policy,
    scalar_head,
)
from preceptor.models.tokenizers import encode_response
from preceptor.pipeline import input_hash, run_pipeline
from preceptor.recipes import load_recipe
from preceptor.report import write_report
from preceptor.steps import train
from preceptor.steps.inputs import demonstration_ids
from preceptor.training.folder import StageFolder, claimed

TINY = Path(__file__).parent / "tiny.yaml"
STAGES = ("pretrain", "sft", "reward", "ppo", "ppo_ptx")


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "preceptor", "run", str(TINY), "--out", str(out)]


def started(out: Path, *options: str) -> str:
    """The same command in a process that is forked, with all imports done; what it said."""
    log = out.with_suffix(".log")
    status = dying.start([*command(out)[3:], *options], log)
    assert status == 0, log.read_text()
    return log.read_text()


def deterministic_files(out: Path) -> dict[str, bytes]:
    """Everything of a run that must not depend on when it was interrupted."""
    names = [f"{stage}/metrics.jsonl" for stage in STAGES]
    names += [f"{stage}/model/model.safetensors" for stage in STAGES]
    names += [f"{stage}/samples.jsonl" for stage in ("ppo", "ppo_ptx")]
    names += ["data/rankings-train.jsonl", "evaluation/responses-ppo_ptx.jsonl"]
    return {name: (out / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One unbroken run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(command(out), check=True, capture_output=True)
    return out


def test_it_leaves_what_the_design_says(whole):
    for stage in STAGES:
        names = {path.name for path in (whole / stage).iterdir()}
        assert {"model", "metrics.jsonl", "timing.jsonl", "done.json"} <= names
        assert "checkpoints" not in names
        model = {path.name for path in (whole / stage / "model").iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= model
    assert (whole / "recipe.yaml").is_file() and (whole / "report.html").is_file()
    results = json.loads((whole / "evaluation" / "results.json").read_text())
    assert results["models"] == ["gpt", "gpt_prompted", "sft", "ppo", "ppo_ptx"]
    assert set(results["win_rate"]) >= {"ppo_ptx_vs_sft", "sft_vs_gpt_prompted"}
    assert set(results["timing"]) >= set(STAGES)


def test_each_stage_logs_a_line_a_step_and_learns(whole):
    lines = [json.loads(x) for x in (whole / "pretrain/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 17))
    assert lines[-1]["pretrain/loss"] < lines[0]["pretrain/loss"]
    for stage in ("ppo", "ppo_ptx"):
        steps = [
            json.loads(x)["step"]
            for x in (whole / stage / "metrics.jsonl").read_text().splitlines()
        ]
        assert steps == [1, 2, 3, 4]


def test_the_reward_models_demonstrations_score_zero_on_average(whole):
    summary = json.loads((whole / "reward" / "done.json").read_text())["summary"]
    assert abs(summary["demonstration_mean"]) < 1e-4


def test_sampled_responses_name_the_model_that_wrote_them(whole):
    for line in (whole / "data" / "rankings-valid.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert row["meta"]["sources"] == ["sft"] * len(row["responses"])
    found = json.loads((whole / "evaluation" / "results.json").read_text())["reward_model"]
    assert set(found["by_source"]) == {"sft"}
    assert found["by_source"]["sft"]["accuracy_on_labels"] == found["accuracy_on_labels"]


def test_probes_of_the_reward_model_stand_in_its_folder_and_in_the_results(whole):
    summary = json.loads((whole / "reward" / "done.json").read_text())["summary"]
    results = json.loads((whole / "evaluation" / "results.json").read_text())
    assert results["reward_model"]["probes"] == summary["probes"]
    assert set(summary["probes"]) == set(PROBES)
    gamed = {f"probe_{name}" for name, found in summary["probes"].items()
             if (found["scores_higher"]["low"] or 0) > 0.5}  # fmt: skip
    assert {a["name"] for a in results["alarms"] if a["stage"] == "reward"} == gamed


def test_the_saved_recipe_gives_the_same_run(whole):
    saved = load_recipe(str(whole / "recipe.yaml"))
    assert saved == load_recipe(str(TINY))


def test_a_second_run_does_nothing_but_the_report(whole):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*.safetensors")}
    assert started(whole).count("is done, skipped") == 9
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*.safetensors")} == before


def test_only_what_depends_on_a_change_runs_again(whole, tmp_path):
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(whole, out)
    told = started(out, "--set", "ppo_ptx.kl_coef=0.5")
    skipped = [line.split()[0] for line in told.splitlines() if "skipped" in line]
    assert skipped == ["data", "pretrain", "sft", "sample", "rank", "reward", "ppo"]


def test_a_damaged_output_is_made_again(whole, tmp_path):
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(whole, out)
    expected = deterministic_files(whole)
    weights = out / "sft" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"evil")
    started(out)
    assert deterministic_files(out) == expected


def test_lost_results_are_made_again(whole, tmp_path):
    import shutil

    shutil.copytree(whole, tmp_path / "copy")
    (tmp_path / "copy" / "evaluation" / "results.json").unlink()
    started(tmp_path / "copy")
    assert (tmp_path / "copy" / "evaluation" / "results.json").is_file()


@pytest.mark.parametrize("out", ["/proc/nowhere", "/dev/null/run", "x" * 300])
def test_a_place_where_no_folder_can_be_is_a_message(out):
    with pytest.raises(DataError, match="Name another folder by --out"):
        run_pipeline(load_recipe(str(TINY)), Path(out))


@pytest.mark.parametrize("seed", [0])
def test_killed_at_any_time_it_ends_with_the_same_bits(whole, tmp_path, seed):
    """SIGKILL by the clock until a start comes through; test_killed.py meets every step."""
    out = tmp_path / "run"
    rng = random.Random(seed)
    for kill in range(60):
        process = subprocess.Popen(
            command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # Starting takes some seconds of imports; kills fall between there and the end.
        deadline = time.monotonic() + (rng.uniform(5, 14) if kill < 3 else 300)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.poll() is not None:
            assert process.returncode == 0
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert deterministic_files(out) == deterministic_files(whole)


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_stage_alone_says_what_must_come_before_and_writes_nothing(tmp_path):
    with pytest.raises(RecipeError, match="step pretrain is not done.*ppo needs it"):
        run_pipeline(load_recipe(str(TINY)), tmp_path / "out", only=["data", "ppo"])
    assert not (tmp_path / "out").exists()


def test_a_refused_stage_leaves_a_finished_run_as_it_was(whole):
    """Other data would make every trained stage stale, so nothing is made before that is told."""
    before = snapshot(whole)
    other_data = load_recipe(str(TINY), ["data.num_ppo_prompts=40"])
    for stage in ("sft", "ppo"):
        with pytest.raises(RecipeError, match=f"step pretrain is not done .* and {stage} needs it"):
            run_pipeline(other_data, whole, only=["data", stage])
    with pytest.raises(RecipeError, match="step sft is not done with this recipe, and sample"):
        run_pipeline(load_recipe(str(TINY), ["sft.num_epochs=7"]), whole, only=["data", "sample"])
    assert snapshot(whole) == before


def test_a_report_changes_no_recipe_and_needs_something_to_tell(whole, tmp_path):
    before = (whole / "recipe.yaml").read_bytes()
    run_pipeline(load_recipe(str(TINY), ["seed=9"]), whole, only=["report"])
    assert (whole / "recipe.yaml").read_bytes() == before
    with pytest.raises(RecipeError, match="nothing to report"):
        run_pipeline(load_recipe(str(TINY)), tmp_path / "out", only=["report"])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run_is_refused_as_it_was(tmp_path):
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "thesis.tex").write_text("years of work")
    before = snapshot(tmp_path)
    with pytest.raises(DataError, match="not made by a run. Nothing was touched"):
        run_pipeline(load_recipe(str(TINY)), tmp_path)
    assert snapshot(tmp_path) == before
    with pytest.raises(DataError, match=r"thesis.tex: a file"):
        run_pipeline(load_recipe(str(TINY)), tmp_path / "sft" / "thesis.tex")
    with pytest.raises(DataError, match="a file stands in its way"):
        run_pipeline(load_recipe(str(TINY)), tmp_path / "sft" / "thesis.tex" / "run")


def test_two_processes_never_share_a_run_folder(tmp_path):
    running = pytest.raises(DataError, match="another process is running in this folder")
    with claimed(tmp_path / "out"), running:
        run_pipeline(load_recipe(str(TINY)), tmp_path / "out")
    with claimed(tmp_path / "out"):
        pass  # let go of when the first ended


def own_model_recipe(folder: Path, *overrides: str):
    recipe = ("pretrain=null", "evaluate.num_tax_sequences=8", f"model={folder / 'sft' / 'model'}")
    return load_recipe(str(TINY), [*recipe, *overrides])


def test_every_file_that_a_step_reads_is_in_its_hash(whole, tmp_path, monkeypatch):
    """Another template, reward function or reward model: the steps that read it are not done."""
    import shutil

    shutil.copytree(whole / "sft", tmp_path / "sft")
    (tmp_path / "my_reward.py").write_text("def score(prompts, responses): return responses")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = own_model_recipe(tmp_path, "ppo.reward=my_reward:score")
    before = {name: input_hash(recipe, whole, name) for name in ("sft", "ppo")}

    (tmp_path / "my_reward.py").write_text("def score(prompts, responses): return [1.0]")
    assert input_hash(recipe, whole, "ppo") != before["ppo"]
    assert input_hash(recipe, whole, "sft") == before["sft"]

    template = tmp_path / "sft" / "model" / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert input_hash(recipe, whole, "sft") != before["sft"]

    picked = ("sft.choose_by=reward_model", f"sft.reward_model={tmp_path / 'sft' / 'model'}")
    recipe = own_model_recipe(whole, *picked)
    before["sft"] = input_hash(recipe, whole, "sft")
    (tmp_path / "sft" / "model" / "extra.json").write_text("{}")
    assert input_hash(recipe, whole, "sft") != before["sft"]

    looked = own_model_recipe(whole, "evaluate.num_tax_sequences=4")
    assert input_hash(looked, whole, "ppo") != input_hash(own_model_recipe(whole), whole, "ppo")


def test_ppo_runs_anew_when_its_start_does(whole):
    """A start of its own, another one or none: other PPO, the same SFT and reward model."""
    hashes = []
    for overrides in ((), ("ppo_start={}",)):
        recipe = load_recipe(str(TINY), overrides)
        hashes.append({name: input_hash(recipe, whole, name) for name in (*STAGES, "evaluate")})
    changed = {name for name in hashes[0] if hashes[0][name] != hashes[1][name]}
    assert changed == {"ppo", "ppo_ptx"}  # ppo's outputs then change evaluate's


def test_ppo_starts_from_a_model_of_its_own_and_refers_to_it(whole, tmp_path, monkeypatch):
    """`preceptor ppo` trains the start first; policy, reference and value model come from it."""
    import shutil

    out = tmp_path / "run"
    shutil.copytree(whole, out)
    seen = {}

    class Enough(Exception):
        pass

    def look(config, folder, **given):
        seen.update(given)
        raise Enough

    monkeypatch.setattr(train, "run_ppo", look)
    recipe = load_recipe(str(TINY), ["ppo_start={}", "ppo.value_from=policy"])
    with pytest.raises(Enough):
        run_pipeline(recipe, out, only=["data", "ppo_start", "ppo"])
    start = load_policy(out / "ppo_start" / "model")[0].state_dict()
    sft = load_policy(out / "sft" / "model")[0].state_dict()
    name = "model.layers.0.mlp.up_proj.weight"
    assert not start[name].equal(sft[name])
    for model in ("policy", "ref_policy", "value_model"):
        assert seen[model].state_dict()[name].equal(start[name])
    assert not scalar_head(seen["value_model"]).weight.any()  # fresh: zeros (rule 37)
    lines = (out / "ppo_start" / "metrics.jsonl").read_text().splitlines()
    assert all("sft/ptx_loss" in json.loads(line) for line in lines)
    page = write_report(out).read_text()
    assert "PPO starts here from a model of its own" in page and "Start of PPO" in page
    assert "Start of PPO" not in write_report(whole).read_text()


def test_the_value_model_is_the_reward_model_with_head_and_bias(whole, tmp_path, monkeypatch):
    """Before the first step its value where the next token would stand is the score (rule 37)."""
    given = {}
    monkeypatch.setattr(train, "run_ppo", lambda config, folder, **options: given.update(options))
    recipe = load_recipe(str(TINY))
    train.ppo(recipe, whole, StageFolder(tmp_path / "ppo", "ppo", "inputs"), "ppo")
    value_model, tokenizer = given["value_model"], given["tokenizer"]
    prompts = given["prompt_ids"][:5]
    responses = [encode_response(tokenizer, text) for text in ("yes", "no", "i see", "a", "the")]
    scores = given["score"](given["prompts"][:5], prompts, responses, [""] * 5)
    longer = make_rows([p + r for p, r in zip(prompts, responses, strict=True)], [[1]] * 5)
    with torch.no_grad():
        values = response_values(value_model, longer)[:, 0]
    torch.testing.assert_close(values, scores)
    assert float(scalar_head(value_model).bias.detach()) != 0.0  # demonstrations score 0 by it
    assert scalar_head(value_model).bias.requires_grad


def test_a_tokenizer_whose_pad_is_its_end_goes_through_every_stage(whole, tmp_path):
    """As many base models have it. Each stage saves a pad of its own, and the end is learned."""
    import shutil

    shutil.copytree(whole / "pretrain" / "model", tmp_path / "base")
    tokenizer = load_tokenizer(tmp_path / "base", 2**31)
    vocabulary = tokenizer.get_vocab()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "base")
    out = tmp_path / "run"
    # The miniature's judge knows its own vocabulary, which this model has.
    recipe = load_recipe(str(TINY), ["pretrain=null", f"model={tmp_path / 'base'}"])
    run_pipeline(recipe, out, only=["data", "sft", "sample", "rank", "reward", "ppo", "ppo_ptx"])
    for stage in ("sft", "reward", "ppo", "ppo_ptx"):
        saved = AutoTokenizer.from_pretrained(out / stage / "model")  # as others will read it
        assert saved.pad_token_id is not None
        assert saved.pad_token_id != saved.eos_token_id == tokenizer.eos_token_id
        assert saved.get_vocab() == vocabulary
    config = json.loads((out / "sft" / "model" / "config.json").read_text())
    assert config["pad_token_id"] != config["eos_token_id"]
    _, responses = demonstration_ids(recipe, out, saved, "train")
    assert responses and all(ids.index(saved.eos_token_id) == len(ids) - 1 for ids in responses)


def test_weights_that_are_no_number_stop_the_command_before_a_step(whole, tmp_path):
    import shutil

    shutil.copytree(whole / "sft" / "model", tmp_path / "base")
    weights = load_file(tmp_path / "base" / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    options = ["--set", "pretrain=null", "--set", f"model={tmp_path / 'base'}"]
    log = tmp_path / "log"
    assert dying.start([*command(tmp_path / "run")[3:], *options], log) == 2
    assert "sft step 1: the loss is nan. Stopped before the optimizer step" in log.read_text()
    assert not (tmp_path / "run" / "sft" / "done.json").exists()
    assert not (tmp_path / "run" / "sft" / "metrics.jsonl").exists()


def test_a_reward_model_of_another_vocabulary_chooses_nothing(whole, tmp_path):
    save_model(
        scalar_from_policy(whole / "sft" / "model", 1), toys.tiny_tokenizer(), tmp_path / "rm"
    )
    recipe = load_recipe(
        str(TINY), ["sft.choose_by=reward_model", f"sft.reward_model={tmp_path / 'rm'}"]
    )
    with pytest.raises(DataError, match=r"sft.reward_model .*: its vocabulary is not that"):
        train.sft(recipe, whole, StageFolder(tmp_path / "sft", "sft", "inputs"))
    assert not (tmp_path / "sft").exists()


def test_a_reward_function_is_found_or_named(tmp_path, monkeypatch):
    from preceptor.steps.scores import reward_function

    (tmp_path / "near_reward.py").write_text("def score(prompts, responses): return [2.0]")
    monkeypatch.syspath_prepend(tmp_path)
    assert reward_function("near_reward:score")(["a"], ["b"]) == [2.0]
    with pytest.raises(RecipeError, match="far_reward:score: ModuleNotFoundError"):
        reward_function("far_reward:score")
    with pytest.raises(RecipeError, match="near_reward:other"):
        reward_function("near_reward:other")
    (tmp_path / "broken_reward.py").write_text("def score(:")
    with pytest.raises(RecipeError, match="broken_reward:score: SyntaxError"):
        reward_function("broken_reward:score")
    recipe = load_recipe(str(TINY), ["ppo.reward=near_reward:other"])
    with pytest.raises(RecipeError, match="near_reward:other"):
        run_pipeline(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stage_that_the_recipe_lacks_is_named(tmp_path):
    recipe = load_recipe(str(TINY)).model_copy(update={"ppo": None})
    with pytest.raises(RecipeError, match="no step ppo. It has data, pretrain"):
        run_pipeline(recipe, tmp_path / "out", only=["ppo"])
