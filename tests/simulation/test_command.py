"""`preceptor label simulate`: everything that an app has gets done, and wrong words are told."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from browsers import add_member, make_project
from live import key_of
from sqlalchemy import select
from typer.testing import CliRunner, Result

from preceptor.cli import app
from preceptor.store.accounts import publish_guideline
from preceptor.store.database import Store
from preceptor.store.tables import Account, Assignment, Submission


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PRECEPTOR_API_KEY", raising=False)
    return tmp_path


SIMULATED = ("simulated",)


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["label", "simulate", *arguments])


def count(store: Store, table: type) -> int:
    with store.read() as session:
        return len(session.scalars(select(table.id)).all())  # type: ignore[attr-defined]


def test_all_work_of_an_app_is_done_and_the_same_ones_come_back(store: Store, url: str):
    with store.write() as session:
        publish_guideline(session, "rules", "Help first.", now=datetime.now(UTC))
    tasks = {f"what is {i}?": [f"it is {i}.", "no", f"{i} {i}"] for i in range(6)}
    make_project(store, tasks=tasks, overlap=2, guideline="rules", groups=SIMULATED)
    make_project(store, "prompt_plain", name="for people", groups=("training", "simulated"))
    with_store = ("--url", url, "--store", "labels.db")
    done = simulate(*with_store, "--labelers", "3", "--habit", "all_tie=1")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{12:>8,}  ranking counted\n"
    assert count(store, Account) == 3
    # Nothing is left, and nobody is made anew.
    again = simulate(*with_store, "--labelers", "3", "--habit", "all_tie=1")
    assert (again.exit_code, again.stdout) == (0, "") and "no work for them" in again.stderr
    assert count(store, Account) == 3 and count(store, Assignment) == 12
    with store.read() as session:
        made = select(Submission).where(Submission.kind == "submitted")
        bodies = [label.body for label in session.scalars(made)]
    assert 0 < sum(len(body["rank_groups"]) == 1 for body in bodies) < len(bodies)
    assert Path("simulated-labelers.json").stat().st_mode & 0o077 == 0


def test_an_admin_s_key_invites_them_over_http(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
):
    make_project(store, groups=SIMULATED)
    account = add_member(store, "ada", role="admin", group="researcher")
    key = key_of(store, account, "admin", at=datetime.now(UTC))
    monkeypatch.setenv("PRECEPTOR_API_KEY", key)
    done = simulate("--url", url, "--labelers", "1")
    assert (done.exit_code, done.stdout) == (0, f"{1:>8,}  ranking counted\n")


def refused(*arguments: str) -> str:
    result = simulate(*arguments)
    assert result.exit_code == 2, result.output
    return result.stderr


def test_wrong_words_are_told(store: Store, url: str):
    there = ("--url", url, "--store", "labels.db")
    assert "--habit lazy: it looks like random=2. There are straight_liner" in refused(
        *there, "--habit", "lazy"
    )
    assert "2 labelers with habits of 1" in refused(
        *there, "--labelers", "1", "--habit", "random=2"
    )
    assert "set PRECEPTOR_API_KEY" in refused("--url", url)
    assert "no address" in refused("--url", "here", "--store", "labels.db")
    assert "no label store" in refused("--url", url, "--store", "other.db")
    Path("simulated-labelers.json").write_text("not ours")
    assert "not a file of simulated labelers" in refused(*there)


def test_somebody_s_login_is_not_taken_over(store: Store, url: str):
    """The accounts' file is lost: the same logins are there, and their passwords are not known."""
    make_project(store, groups=SIMULATED)
    there = ("--url", url, "--store", "labels.db", "--labelers", "1")
    assert simulate(*there).exit_code == 0
    Path("simulated-labelers.json").unlink()
    said = refused(*there)
    assert "there is such an account" in said
