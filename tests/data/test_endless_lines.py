"""A line of a gigabyte: refused or left out, by its line, and never held."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from preceptor.cli import app
from preceptor.data import rows

MIB = 2**20
KINDS = ("jsonl", "jsonl.gz", "txt")
COMMANDS = {
    "check": ("check",),
    "convert": ("convert", "--to", "preceptor", "--on-error", "skip", "--out", "{out}/x.jsonl"),
    "clean": ("clean", "--on-error", "skip", "--out", "{out}"),
}
MEASURED = """
import re, sys
from preceptor.cli import main
try:
    main()
finally:
    # Not getrusage: its peak begins with that of the process that started this one.
    print(re.search("VmHWM: *(.*) kB", open("/proc/self/status").read().replace("\\t", " "))[1],
          file=sys.stderr)
"""


def write(path: Path, mebibytes: int) -> Path:
    """Two records with a line between them that does not end for so long."""
    key = "prompt" if "jsonl" in path.name else ""
    before, head, tail, after = (b"before, this one", b"", b"\n\n", b"after, this one")
    if key:
        before, after = (json.dumps({key: text.decode()}).encode() for text in (before, after))
        head, tail = b'{"prompt": "', b'"}\n'
    with gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb") as file:
        file.write(before + (b"\n" if key else b"\n\n") + head)
        for _ in range(mebibytes):
            file.write(b"x" * MIB)
        file.write(b"x" + tail + after + b"\n")
    return path


def words(command: str, path: Path, out: Path) -> list[str]:
    first, *others = (word.format(out=out) for word in COMMANDS[command])
    return ["data", first, str(path), *others]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_line_just_over_the_limit_is_left_out_and_counted(tmp_path, monkeypatch, kind, command):
    if command == "clean" and kind == "txt":
        pytest.skip("a text file holds documents, no prompts")
    monkeypatch.setattr(rows, "LONGEST_ROW", MIB)
    path = write(tmp_path / f"a.{kind}", 1)
    done = CliRunner().invoke(app, words(command, path, tmp_path / "out"))
    assert done.exit_code == (2 if command == "check" else 0), done.output
    assert "over 1 MiB" in done.output
    written = [p.read_text() for p in (tmp_path / "out").glob("*") if p.name != "dropped.jsonl"]
    if command != "check":
        lines = "".join(written).splitlines()
        assert len(lines) == 2 and all("this one" in line for line in lines)
        refused = [word if word != "skip" else "refuse" for word in words(command, path, tmp_path)]
        done = CliRunner().invoke(app, refused)
        assert done.exit_code == 2 and f"a.{kind}:{3 if kind == 'txt' else 2}: " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_line_of_a_gigabyte_is_never_held(tmp_path, kind, command):
    if command == "clean" and kind == "txt":
        pytest.skip("a text file holds documents, no prompts")
    path = write(tmp_path / f"a.{kind}", 1024)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *words(command, path, tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert "over 64 MiB" in done.stdout + done.stderr
    assert int(done.stderr.split()[-1]) < 400 * 1024
