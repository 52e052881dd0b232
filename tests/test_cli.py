"""The commands: what they pass on, how they end, and that help needs nothing heavy."""

import errno
import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from typer.testing import CliRunner, Result

from preceptor.cli import app, is_disk_full, laid_out
from preceptor.config import Recipe
from preceptor.errors import RecipeError
from preceptor.recipes import load_recipe

STAGES = ("pretrain", "sft", "sample", "rank", "reward", "ppo", "evaluate", "report")


class FakePipeline:
    """Stands for preceptor.pipeline: notes what was asked, or raises what it was told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Recipe, Path, list[str] | None]] = []
        self.error: BaseException | None = None

    def run_pipeline(self, recipe: Recipe, out: Path, *, only: Sequence[str] | None = None) -> Path:
        self.calls.append((recipe, out, list(only) if only else None))
        if self.error:
            raise self.error
        return out / "report.html"


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    fake = FakePipeline()
    module = ModuleType("preceptor.pipeline")
    module.run_pipeline = fake.run_pipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "preceptor.pipeline", module)
    return fake


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["recipe", "check", "miniature"], ["data", "--help"], ["data", "check", "--help"]],
)
def test_help_and_recipe_check_import_neither_torch_nor_transformers(arguments: list[str]):
    code = (
        "import sys; sys.argv[1:] = " + repr(arguments) + "\n"
        "from preceptor.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'matplotlib', 'peft'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    assert python(code).endswith("heavy: []\n")


@pytest.mark.parametrize(
    "command",
    [
        *("", "run", *STAGES, "chat", "bench"),
        *("recipe", "recipe list", "recipe show", "recipe check"),
        *(
            "data",
            "data check",
            "data clean",
            "data convert",
            "data list",
            "data get",
            "data tokenizer",
        ),
        *("label", "label init", "label import", "label add", "label export", "label status"),
        *("label guideline", "label invite", "label account", "label serve", "label simulate"),
        *("corpus", "corpus build", "corpus tokenizer", "corpus check"),
    ],
)
def test_every_command_has_a_help_of_80_columns(command: str):
    result = CliRunner().invoke(
        app, [*command.split(), "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}
    )
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert "..." not in re.sub(r"[\]}]\.\.\.", "", result.stdout)


def test_the_module_is_the_command_too():
    command = [sys.executable, "-m", "preceptor", "recipe", "list"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "miniature" in result.stdout
    assert "smollm2" in result.stdout


def test_run_goes_to_a_folder_of_the_recipe_s_name(pipeline: FakePipeline):
    result = invoke("run", "miniature", "--set", "seed=3", "--set", "ppo.kl_coef=0.5")
    assert result.exit_code == 0
    [(recipe, out, only)] = pipeline.calls
    assert (recipe.seed, out, only) == (3, Path("runs/miniature"), None)
    assert recipe.ppo is not None
    assert recipe.ppo.kl_coef == 0.5
    assert result.stdout == "runs/miniature/report.html\n"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_alone_on_data_that_are_made_when_needed(pipeline: FakePipeline, stage: str):
    result = invoke(stage, "miniature", "--out", "there")
    assert result.exit_code == 0, result.output
    asked = [only for _, _, only in pipeline.calls]
    stages = ["ppo", "ppo_ptx"] if stage == "ppo" else [stage]
    assert asked == [stages if stage == "report" else ["data", *stages]]
    assert all(out == Path("there") for _, out, _ in pipeline.calls)
    assert all(line.startswith("there/") for line in result.stdout.splitlines())


def test_ppo_runs_what_the_recipe_has_or_the_one_asked_for(pipeline: FakePipeline):
    invoke("ppo", "miniature", "--only", "ppo_ptx")
    invoke("ppo", "miniature", "--set", "ppo_ptx=null")
    assert [only for _, _, only in pipeline.calls] == [["data", "ppo_ptx"], ["data", "ppo"]]
    result = invoke("ppo", "miniature", "--set", "ppo=null", "--set", "ppo_ptx=null")
    assert result.exit_code == 2
    assert "neither a ppo nor a ppo_ptx section" in result.stderr


def test_what_a_person_can_mend_is_a_message_and_status_2(pipeline: FakePipeline):
    pipeline.error = RecipeError("a.yaml: one thing.\na.yaml: another.")
    result = invoke("run", "miniature")
    assert result.exit_code == 2
    assert result.stderr == "error: a.yaml: one thing.\na.yaml: another.\n"
    assert result.stdout == ""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "model.safetensors"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors says it
    ],
)
def test_a_full_disk_is_one_clear_message(pipeline: FakePipeline, error: Exception):
    pipeline.error = error
    result = invoke("run", "miniature")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: No space left on the disk.")
    assert len(result.stderr.splitlines()) == 1


def test_other_errors_of_the_system_are_not_called_a_full_disk():
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))
    assert not is_disk_full(ValueError("space"))


def test_an_interrupted_run_says_that_it_continues(pipeline: FakePipeline):
    pipeline.error = KeyboardInterrupt()
    result = invoke("run", "miniature")
    assert result.exit_code == 130
    assert result.stderr == "Interrupted. The same command continues.\n"


def test_a_bug_keeps_its_traceback(pipeline: FakePipeline):
    pipeline.error = ZeroDivisionError("ours")
    result = invoke("run", "miniature")
    assert result.exit_code == 1
    assert result.exception is pipeline.error


def test_a_wrong_key_ends_a_real_process_with_status_2_and_no_traceback():
    command = [sys.executable, "-m", "preceptor", "run", "miniature", "--set", "ppo.kl_coeff=1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "error: miniature.yaml: ppo.kl_coeff: no such key. Did you mean ppo.kl_coef?\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run"],
        ["run", "miniature", "--nonsense"],
        ["ppo", "miniature", "--only", "x"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str]):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_recipe_show_prints_the_resolved_recipe(tmp_path: Path):
    result = invoke("recipe", "show", "miniature", "--set", "seed=4")
    assert yaml.safe_load(result.stdout)["seed"] == 4
    (tmp_path / "shown.yaml").write_text(result.stdout)
    assert load_recipe(str(tmp_path / "shown.yaml")) == load_recipe("miniature", ["seed=4"])


def test_recipe_check_tells_what_would_run(tmp_path: Path):
    result = invoke("recipe", "check", "miniature", "--set", "ppo_ptx.num_iterations=7")
    assert result.exit_code == 0
    assert result.stdout.startswith("miniature: ok\n")
    assert "7 iterations" in result.stdout
    (tmp_path / "bad.yaml").write_text("model: m\nseeed: 1\n")
    result = invoke("recipe", "check", str(tmp_path / "bad.yaml"))
    assert result.exit_code == 2
    assert "bad.yaml: seeed: no such key. Did you mean seed?" in result.stderr
    assert "bad.yaml: demonstrations is missing" in result.stderr


def test_a_reward_function_beside_the_user_is_found_by_the_installed_command(tmp_path: Path):
    (tmp_path / "near_reward.py").write_text("def score(prompts, responses): return responses")
    found = []
    for module in ("near_reward", "far_reward"):
        command = [str(Path(sys.executable).parent / "preceptor"), "recipe", "check", "miniature"]
        command += ["--set", f"ppo.reward={module}:score"]
        found.append(
            subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        )
    assert [run.returncode for run in found] == [0, 2]
    assert "no module far_reward in the working folder" in found[1].stderr


def test_recipe_schema_is_a_json_schema_that_knows_the_keys():
    from jsonschema import Draft202012Validator

    schema = json.loads(invoke("recipe", "schema").stdout)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate(load_recipe("miniature").model_dump(mode="json"))
    assert not validator.is_valid({"model": "m", "demonstrations": "d", "seeed": 1})


def test_an_error_is_broken_between_words_and_what_is_copied_is_not():
    command = f"  pip install {'x' * 90}"
    text = f"error: {'word ' * 40}a/very/long/{'path' * 30}\n{command}\n\nThe end, so-called."
    lines = laid_out(text, 80).splitlines()
    assert max(len(line) for line in lines[:2]) <= 80 and len(lines[0]) > 70
    assert command in lines and lines[-2:] == ["", "The end, so-called."]
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert laid_out(text, None) == text


@pytest.mark.parametrize("columns", [80, 40])
def test_errors_fit_the_terminal_that_they_go_to(columns: int):
    """Into a file or a pipe they go as they are: one line each."""
    command = [sys.executable, "-m", "preceptor", "data", "get", *(f"nothing{n}" for n in range(3))]
    main, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    assert subprocess.run(command, stderr=terminal, check=False).returncode == 2
    os.close(terminal)
    lines = os.read(main, 10_000).decode().splitlines()
    os.close(main)
    assert lines[0].startswith("error: nothing0: no such set.")
    assert max(map(len, lines)) <= columns
    assert len(lines) == (3 if columns == 80 else 6)
    piped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert piped.stderr.splitlines() == laid_out(piped.stderr, 80).splitlines()
    assert len(piped.stderr.splitlines()) == 3
