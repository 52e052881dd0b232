"""Kernels are compiled once, in a place that is the user's own, or it is said why they are not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from preceptor.models import kernels

needs_compiler = pytest.mark.skipif(not kernels.available(), reason=kernels.missing())
ASK = "from preceptor.models import kernels; import json; print(json.dumps(kernels.missing()))"


def missing(cache: Path, **variables: str) -> str:
    """What is said where the cache and the variables are these."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PRECEPTOR_KERNELS": "", "PRECEPTOR_CACHE": str(cache)}.items():
            patch.setenv(name, value)
        for name, value in variables.items():
            patch.setenv(name, value)
        forget()
        try:
            return kernels.missing()
        finally:
            forget()


def forget() -> None:
    kernels.missing.cache_clear()
    kernels._functions.cache_clear()


def missing_elsewhere(cache: Path) -> str:
    """What a new process says: this one would still have the file that is cut off."""
    environment = {**os.environ, "PRECEPTOR_CACHE": str(cache), "PRECEPTOR_KERNELS": ""}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


@needs_compiler
def test_they_are_compiled_once_and_for_this_source_alone(tmp_path):
    assert missing(tmp_path) == ""
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "kernels").iterdir()}
    assert {path.name.split("-")[1] for path in made} == {"bf16", "float"}
    assert missing(tmp_path) == ""
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "kernels").iterdir()}
    assert (tmp_path / "kernels").stat().st_mode & 0o777 == 0o700


@needs_compiler
def test_a_folder_that_others_can_write_to_is_not_run_from(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(0o777)
    assert "others can write to it" in missing(tmp_path)
    assert not list((tmp_path / "kernels").iterdir())


def test_without_a_compiler_it_is_said_and_nothing_else_happens(tmp_path):
    (tmp_path / "bin").mkdir()
    said = missing(tmp_path, PATH=str(tmp_path / "bin"), CXX="")
    assert said.startswith("no C++ compiler")


def test_a_compiler_that_refuses_is_quoted(tmp_path):
    program = tmp_path / "c++"
    program.write_text("#!/bin/sh\necho nothing >&2\necho 'error: no such option' >&2\nexit 1\n")
    program.chmod(0o700)
    empty = tmp_path / "empty"
    empty.mkdir()
    said = missing(tmp_path, CXX=str(program), PATH=str(empty))
    assert said == f"{program}: error: no such option"
    program.write_text("#!/bin/sh\nexit 1\n")
    said = missing(tmp_path, CXX=str(program), PATH=str(empty))
    assert said == f"{program}: it ends with 1"
    assert not list((tmp_path / "kernels").glob("*.so"))


@needs_compiler
def test_after_a_compiler_that_refuses_the_next_is_asked(tmp_path):
    assert missing(tmp_path, CXX="false") == ""


@needs_compiler
def test_a_file_that_was_cut_off_is_not_run_but_made_again(tmp_path):
    assert missing_elsewhere(tmp_path) == ""
    files = list((tmp_path / "kernels").iterdir())
    whole = {path: path.read_bytes() for path in files}
    for path in files:
        path.write_bytes(whole[path][:1000])
    assert missing_elsewhere(tmp_path) == ""
    assert {path: path.read_bytes() for path in (tmp_path / "kernels").iterdir()} == whole


def test_without_a_home_it_is_said(tmp_path):
    code = (
        "import pwd\ndef none(*_): raise KeyError\npwd.getpwuid = none\n"
        "from preceptor.models import kernels; print(kernels.missing())"
    )
    gone = ("HOME", "PRECEPTOR_CACHE", "XDG_CACHE_HOME", "PRECEPTOR_KERNELS")
    environment = {key: value for key, value in os.environ.items() if key not in gone}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert "home" in done.stdout


def test_they_can_be_turned_off(tmp_path):
    assert missing(tmp_path, PRECEPTOR_KERNELS="off") == "PRECEPTOR_KERNELS is off"


@needs_compiler
def test_every_function_is_called_with_as_many_arguments_as_it_has():
    """ctypes would pass on what it is given."""
    source = kernels.SOURCE.read_text(encoding="utf-8")
    exported = source[source.index('extern "C" {') :]
    for name, arguments in kernels._ARGUMENTS.items():
        begin = exported.index(f"void {name}(") + len(f"void {name}(")
        declared = exported[begin : exported.index(")", begin)].split(",")
        kinds = ["p" if "*" in each else each.split()[0] for each in declared]
        expected = ["p" if a is kernels._POINTER else a.__name__[2:] for a in arguments]
        assert kinds == expected, name
