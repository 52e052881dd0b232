"""Fixtures that several rooms' tests share."""

import gc
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from toys import tiny_model, tiny_tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast


def pytest_collection_finish() -> None:
    """What is imported by now stays, and each collection would look at all of it: half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def fp32_unless_told() -> Iterator[None]:
    """Tests say what they say on any processor: `precision: auto` is fp32 in all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("preceptor.models.precision.has_bf16", lambda: False)
        yield


@pytest.fixture(params=["llama", "gqa", "gpt2"])
def any_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_model("llama")


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The socket folder of a PostgreSQL server of our own, with nothing to keep it for."""
    found = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    programs = next((Path(p).parent for p in reversed(found) if p), None)
    if programs is None:
        pytest.skip("PostgreSQL half: no initdb in PATH or /usr/lib/postgresql; install postgresql")
    owner = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    prefix = []
    if os.geteuid() == 0:  # a server refuses to be root's
        if not shutil.which("setpriv") or owner not in {user.pw_name for user in pwd.getpwall()}:
            pytest.skip("PostgreSQL half: run by root, and there is no setpriv or user postgres")
        prefix = ["setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups"]
    folder = Path(tempfile.mkdtemp(prefix="preceptor-postgres-"))
    shutil.chown(folder, owner)

    def call(program: str, *arguments: str) -> None:
        command = [*prefix, str(programs / program), "-D", str(folder / "cluster"), *arguments]
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        assert not done.returncode, done.stderr.decode()

    try:
        call("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        settings = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", settings, "start")
        yield str(folder)
        call("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
