"""Where a command is to write: what cannot be is told before any work, with status 2."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from preceptor.cli import app
from preceptor.data.folders import make_folder, scratch_folder, try_folder
from preceptor.errors import DataError

COMMANDS = {
    "corpus build": ["corpus", "build", "recipe.yaml"],
    "corpus tokenizer": ["corpus", "tokenizer", "recipe.yaml"],
    "data get": ["data", "get", "wiki-summaries"],
    "data get gpt2-tokenizer": ["data", "get", "gpt2-tokenizer"],
    "data tokenizer": ["data", "tokenizer", "texts.jsonl"],
    "data clean": ["data", "clean", "prompts.jsonl"],
    "data convert": ["data", "convert", "prompts.jsonl", "--to", "preceptor"],
}
IMPOSSIBLE = {
    "/proc/x": "cannot be made or written (No such file or directory)",
    "afile": "a file stands in its way",
    "afile/sub": "a file stands in its way",
    "n" * 300: "cannot be made or written (File name too long)",
    "nowhere/link": "a file stands in its way",
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("afile").write_text("mine")
    Path("nowhere").mkdir()
    Path("nowhere/link").symlink_to("absent/folder")
    Path("prompts.jsonl").write_text(json.dumps({"prompt": "Name a tree, please."}) + "\n")
    Path("texts.jsonl").write_text(json.dumps({"text": "An oak is a tree."}) + "\n")
    monkeypatch.setattr("preceptor.models.load.open_tokenizer", lambda _: None)
    Path("recipe.yaml").write_text(
        "tokenizer: tokenizer\nsources: [{name: a, files: texts.jsonl}]\n"
    )


@pytest.mark.parametrize("out", IMPOSSIBLE)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_is_told(command: str, out: str):
    name = f"{out}/a.jsonl" if command == "data convert" else out  # it writes a file
    result = CliRunner().invoke(app, [*COMMANDS[command], "--out", name])
    assert result.exit_code == 2, result.output
    assert IMPOSSIBLE[out] in result.stderr and "Name another folder by --out" in result.stderr
    assert Path("afile").read_text() == "mine"


@pytest.mark.parametrize(
    "command",
    [
        ["data", "tokenizer", "absent.jsonl"],
        ["data", "tokenizer", "texts.jsonl", "--vocabulary-size", "100"],
        ["data", "get", "wiki-summaries"],
        ["data", "get", "hf:nobody/nothing"],
    ],
)
def test_what_fails_leaves_no_empty_folder(command: list[str], monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_: object) -> None:
        raise DataError("not reached")

    monkeypatch.setattr("preceptor.data.catalogue.write_set", unreachable)
    monkeypatch.setattr("preceptor.data.catalogue.write_hub_set", unreachable)
    Path("mine").mkdir()
    before = sorted(Path.cwd().rglob("*"))
    for out in ("new/folder", "mine"):
        assert CliRunner().invoke(app, [*command, "--out", out]).exit_code == 2
        assert sorted(Path.cwd().rglob("*")) == before


def test_a_conversion_needs_the_name_of_a_file():
    result = CliRunner().invoke(app, [*COMMANDS["data convert"], "--out", "nowhere"])
    assert result.exit_code == 2 and "nowhere: a folder. Name a file by --out." in result.stderr


def test_trying_a_folder_leaves_nothing_and_making_it_leaves_it_empty(tmp_path: Path):
    try_folder(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    make_folder(Path("a/b"))
    assert list(Path("a").iterdir()) == [Path("a/b")] and not os.listdir("a/b")
    try_folder(Path("a/b"))
    assert Path("a/b").is_dir()


def test_a_full_disk_is_no_wrong_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OSError, match="No space left") as caught:
        make_folder(tmp_path)
    assert not isinstance(caught.value, DataError)


def test_a_scratch_folder_is_one_process_s_at_a_time_and_empty_for_each(tmp_path: Path):
    path, inside, seen = tmp_path / "deep" / "work", [], []

    def enter(number: int) -> None:
        for _ in range(20):
            with scratch_folder(path):
                inside.append(number)
                seen.append((len(inside), sorted(p.name for p in path.iterdir())))
                (path / "folder").mkdir()
                (path / "folder" / "file").write_text("half")
                inside.remove(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(1, [".lock"])] * 120
    assert list(path.parent.iterdir()) == []


KILLED = """
import os, signal, subprocess, sys
from pathlib import Path
from preceptor.data.folders import scratch_folder
with scratch_folder(Path(sys.argv[1])) as lock:
    Path(sys.argv[1], "left").write_text("half")
    script = "import sys; print(flush=True); sys.stdin.read()"
    subprocess.Popen([sys.executable, "-c", script], pass_fds=(lock,))
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""What it began lives until its own input ends, and has the lock for so long."""


def test_what_a_killed_process_left_goes_when_all_that_it_began_has_ended(tmp_path: Path):
    path, seen = tmp_path / "work", []
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )
    assert killed.stdin is not None and killed.stdout is not None
    assert killed.wait(60) == -signal.SIGKILL
    assert killed.stdout.readline() == b"\n"  # what it began is there
    assert (path / "left").is_file()

    def enter() -> None:
        with scratch_folder(path):
            seen.append([p.name for p in path.iterdir()])

    waiting = threading.Thread(target=enter)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    killed.stdin.close()
    waiting.join(20)
    killed.stdout.close()
    assert seen == [[".lock"]] and not path.exists()
