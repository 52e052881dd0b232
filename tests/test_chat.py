"""`preceptor chat`: the conversation, its commands, and what it says about a wrong folder."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toys import tiny_model, tiny_tokenizer

from preceptor.chat import chat
from preceptor.errors import PreceptorError
from preceptor.models import save_model
from preceptor.recipes import dump_recipe, load_recipe

ROOM = 64 - 20  # the toys' context without the longest answer


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    for seed, stage in enumerate(("pretrain", "sft", "ppo_ptx")):
        save_model(tiny_model(seed=seed), tiny_tokenizer(), folder / stage / "model")
        (folder / stage / "done.json").write_text("{}")
    (folder / "ppo" / "model").mkdir(parents=True)  # interrupted: no done.json
    (folder / "recipe.yaml").write_text(
        dump_recipe(load_recipe("miniature", ["max_response_tokens=20"]))
    )
    return folder


def talk(
    folder: Path, *lines: str, model: str | None = None, seed: int = 0, temperature: float = 1.0
) -> list[str]:
    output = io.StringIO()
    text = "".join(line + "\n" for line in lines)
    chat(folder, model, temperature=temperature, seed=seed, input=io.StringIO(text), output=output)
    return output.getvalue().splitlines()


def test_one_line_in_is_one_answer_out_and_the_seed_decides_it(run_folder: Path):
    answers = talk(run_folder, "a b", "c")
    assert len(answers) == 2
    assert all(answers)
    assert talk(run_folder, "a b", "c") == answers
    assert talk(run_folder, "a b", "c", seed=1) != answers


def test_the_last_trained_model_answers_unless_another_is_named(run_folder: Path):
    assert talk(run_folder, "a b") == talk(run_folder, "a b", model="ppo_ptx")
    assert talk(run_folder, "a b") != talk(run_folder, "a b", model="gpt")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The turns that the model is given at each answer; it always says `c d`."""
    given: list[list[str]] = []

    def say_c_d(model: Any, tokenizer: Any, messages: Any, **_: Any) -> Iterator[str]:
        given.append([turn["content"] for turn in messages])
        yield from ("c", " d")

    monkeypatch.setattr("preceptor.generation.stream", say_c_d)
    return given


def test_the_conversation_is_kept_and_new_forgets_it(run_folder: Path, heard: list[list[str]]):
    assert talk(run_folder, "a", "b", "/new", "e") == ["c d", "c d", "c d"]
    assert heard == [["a"], ["a", "c d", "b"], ["e"]]


def test_the_oldest_turns_leave_when_the_context_is_full(run_folder: Path, heard: list[list[str]]):
    long = " ".join("abcdefghij" * 3)
    answers = talk(run_folder, "a", "b", long)
    assert answers[2] == "(the oldest turn does not fit the context any more)"
    assert heard[-1] == ["b", "c d", long]
    assert talk(run_folder, "a", long, long)[2:] == [
        "(the oldest 2 turns do not fit the context any more)",
        "c d",
    ]
    assert heard[-1] == [long]


def test_a_turn_longer_than_the_context_is_refused_and_forgotten(run_folder: Path):
    alone = talk(run_folder, "a b", temperature=0)
    answers = talk(run_folder, "a " * 90, "a b", temperature=0)
    assert answers[0].startswith("(too long: ")
    assert f"there is room for {ROOM})" in answers[0]
    assert answers[1:] == alone


def test_commands(run_folder: Path):
    models, switched, wrong, unknown, *help_lines = talk(
        run_folder, "/models", "/model sft", "/model bert", "/dance", "/help", "", "/quit", "a"
    )
    assert models == "gpt  sft  ppo_ptx"
    assert switched == "Talking to sft."
    assert wrong == "bert: no such model. This run has gpt, sft, ppo_ptx."
    assert unknown.startswith("/dance: no such command.")
    assert [line.split()[0] for line in help_lines] == [
        "/models",
        "/model",
        "/new",
        "/help",
        "/quit",
    ]


def test_another_model_answers_after_switching(run_folder: Path):
    assert talk(run_folder, "/model sft", "a b")[1:] == talk(run_folder, "a b", model="sft")


def test_a_model_that_was_not_finished_is_not_offered(run_folder: Path):
    with pytest.raises(PreceptorError, match="ppo: no such model. This run has gpt, sft, ppo_ptx"):
        talk(run_folder, "a", model="ppo")


def test_what_another_recipe_has_left_is_not_offered(run_folder: Path, tmp_path: Path):
    shutil.copytree(run_folder, tmp_path / "run")
    recipe = load_recipe("miniature", ["max_response_tokens=20", "ppo_ptx=null"])
    (tmp_path / "run" / "recipe.yaml").write_text(dump_recipe(recipe))
    assert talk(tmp_path / "run", "/models") == ["gpt  sft"]


def test_a_folder_that_is_no_run_names_the_runs_beside_it(run_folder: Path):
    with pytest.raises(PreceptorError, match="nothing: not a run folder.*has toy"):
        talk(run_folder.parent / "nothing", "a")
    with pytest.raises(PreceptorError, match="not a run folder.*has toy"):
        talk(run_folder.parent, "a")


def test_a_run_without_a_finished_stage_says_so(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(dump_recipe(load_recipe("miniature")))
    with pytest.raises(PreceptorError, match="no finished model yet"):
        talk(tmp_path, "a")
