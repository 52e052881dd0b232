"""How it is served: for this machine alone, unless passwords are safe, or somebody insists."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from preceptor.cli import app
from preceptor.errors import StoreError
from preceptor.labeling.server import settings_for
from preceptor.store.accounts import account_named
from preceptor.store.database import open_store
from preceptor.store.tables import Project


def test_by_default_it_is_for_this_machine(tmp_path: Path):
    for host in ("127.0.0.1", "localhost", "::1"):
        settings = settings_for(host)
        assert not settings.https
        assert settings.hosts == ("127.0.0.1", "[::1]", "localhost")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", None),
        ("192.168.1.5", None),
        ("::", "http://label.example.org"),
        ("127.0.0.1", "http://label.example.org"),
    ],
)
def test_passwords_in_the_open_must_be_said(host: str, url: str | None):
    with pytest.raises(StoreError, match="travel in the open.*--insecure"):
        settings_for(host, url=url)


def test_a_proxy_with_https_or_a_certificate_will_do(tmp_path: Path):
    behind = settings_for("127.0.0.1", url="https://Label.example.org/")
    assert behind.https
    assert "label.example.org" in behind.hosts
    for name in ("cert", "key"):
        (tmp_path / name).touch()
    own = settings_for("192.168.1.5", certificate=tmp_path / "cert", key=tmp_path / "key")
    assert own.https
    assert "192.168.1.5" in own.hosts
    open_network = settings_for("0.0.0.0", url="http://192.168.1.5:8080", insecure=True)
    assert not open_network.https
    assert "192.168.1.5" in open_network.hosts


def test_wrong_options_are_named(tmp_path: Path):
    with pytest.raises(StoreError, match="go together"):
        settings_for("127.0.0.1", certificate=tmp_path / "cert")
    with pytest.raises(StoreError, match="no such file"):
        settings_for("127.0.0.1", certificate=tmp_path / "c", key=tmp_path / "k")
    for url in ("label.example.org", "ftp://x", "https://"):
        with pytest.raises(StoreError, match="whole address"):
            settings_for("127.0.0.1", url=url)
    with pytest.raises(StoreError, match="not a path"):
        settings_for("127.0.0.1", url="https://example.org/label")
    with pytest.raises(StoreError, match="Name the one that people use"):
        settings_for("0.0.0.0", insecure=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PRECEPTOR_SITE_KEY", raising=False)
    assert label("init")[0] == 0
    return tmp_path


def label(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["label", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_an_admin_is_invited_and_begins_active(here: Path):
    code, out, err = label("invite", "Ann", "--role", "admin", "--url", "https://l.example/")
    assert code == 0
    assert out.startswith("https://l.example/invitation/")
    assert len(out.strip().rsplit("/", 1)[1]) > 40
    assert "once" in err
    assert label("account", "Ann")[1] == "ann  admin, researcher, invited\n"
    assert "there is such an account" in label("invite", "Ann")[2]
    again = label("invite", "Ann", "--again")[1]
    assert again.rsplit("/", 1)[1] not in out
    assert "not accepted" in label("account", "Ann", "--state", "active")[2]
    assert "no such account" in label("account", "Bob")[2]


def test_who_needs_no_screening_begins_active(here: Path):
    from datetime import UTC, datetime

    from preceptor.store.accounts import accept_invitation

    wanted = {
        ("ann",): "screening",
        ("bob", "--screened"): "active",
        ("hal", "--group", "heldout"): "active",
        ("res", "--role", "researcher"): "active",
    }
    tokens = {a[0]: label("invite", *a)[1].strip().rsplit("/", 1)[1] for a in wanted}
    # Of somebody who lost the link it is not forgotten.
    tokens["bob"] = label("invite", "bob", "--again")[1].strip().rsplit("/", 1)[1]
    store = open_store("labels.db")
    with store.write() as session:
        for token in tokens.values():
            accept_invitation(session, token, password_hash="x", now=datetime.now(UTC))
        for arguments, state in wanted.items():
            assert account_named(session, arguments[0]).state == state
    store.close()
    assert label("account", "ann", "--state", "active")[1] == "ann  labeler, training, active\n"


def test_an_invitation_with_a_mistake_is_taken_back_and_made_anew(here: Path):
    assert label("invite", "ann")[0] == 0
    code, _, err = label("invite", "ann", "--again", "--role", "admin")
    told = " ".join(err.split())
    assert code != 0 and "invited as labeler, training, not as admin" in told
    assert "--state left" in told
    assert label("invite", "ann", "--again", "--group", "heldout")[0] != 0
    assert label("invite", "ann", "--again", "--role", "labeler", "--group", "training")[0] == 0
    assert label("account", "ann", "--state", "left")[1] == "ann  labeler, training, left\n"
    assert "taken back" in label("account", "ann", "--state", "active")[2]
    assert "taken back" in label("invite", "ann", "--again")[2]
    assert label("invite", "ann", "--group", "heldout")[0] == 0
    assert label("account", "ann")[1] == "ann  labeler, heldout, invited\n"


def test_a_forgotten_password_gets_a_link(here: Path):
    from datetime import UTC, datetime

    from preceptor.store.accounts import accept_invitation

    token = label("invite", "ann", "--role", "admin")[1].strip().rsplit("/", 1)[1]
    assert "not accepted yet" in label("invite", "ann", "--reset")[2]
    store = open_store("labels.db")
    with store.write() as session:
        accept_invitation(session, token, password_hash="old", now=datetime.now(UTC))
    assert "Leave out --role" in label("invite", "ann", "--reset", "--role", "admin")[2]
    code, out, err = label("invite", "Ann", "--reset")
    assert code == 0 and "works once" in err
    with store.write() as session:
        token = out.strip().rsplit("/", 1)[1]
        accept_invitation(session, token, password_hash="new", now=datetime.now(UTC))
        assert account_named(session, "ann").password_hash == "new"
    store.close()
    assert label("account", "ann")[1] == "ann  admin, researcher, active\n"


def test_a_guideline_is_published_by_version(here: Path):
    from datetime import UTC, datetime

    from preceptor.store.projects import ProjectOptions, create_project

    store = open_store("labels.db")
    with store.write() as session:
        for kind in ("ranking", "evaluation", "demonstration"):
            purpose = "eval" if kind == "evaluation" else "train"
            create_project(
                session, f"{kind}s", kind, ProjectOptions(purpose=purpose), now=datetime.now(UTC)
            )
    for kind in ("ranking", "evaluation", "demonstration"):
        assert label("guideline", f"{kind}s")[1] == f"{kind}@1\n"
    (here / "own.md").write_text("# Ours\n")
    assert label("guideline", "rankings", "own.md")[1] == "ranking@2\n"
    assert label("guideline", "rankings", "own.md")[1] == "ranking@2\n"
    assert label("guideline", "rankings", "own.md", "--name", "taste")[1] == "taste@1\n"
    with store.read() as session:
        names = {p.name: p.guideline for p in session.query(Project)}
    assert names == {
        "rankings": "taste",
        "evaluations": "evaluation",
        "demonstrations": "demonstration",
    }
    store.close()
    (here / "empty.md").write_text(" \n")
    (here / "bytes.md").write_bytes(b"\xff\xfe")
    for wrong in ("empty.md", "bytes.md", "nowhere.md"):
        assert wrong in label("guideline", "rankings", wrong)[2]
    assert "no such project" in label("guideline", "others")[2]
    assert (
        "guideline 'A B': a name has"
        in label("guideline", "rankings", "own.md", "--name", "A B")[2]
    )


def test_serve_says_what_is_missing(here: Path):
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from preceptor.cli import main\n"
        "sys.argv = ['preceptor', 'label', 'serve']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'preceptor[label]'" in done.stderr
    assert label("serve", "--host", "0.0.0.0")[0] == 2
    assert "no label store" in label("serve", "--store", "nowhere.db")[2]


def test_a_port_that_is_taken_is_named_with_the_way_out(here: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = label("serve", "--port", port)
    assert (code, out) == (2, "")
    assert f"--port {port} on 127.0.0.1: another program listens there" in err
    assert "take another with --port" in err and "Ctrl-C" not in err
    code, _, err = label("serve", "--host", "192.0.2.1", "--insecure")
    assert code == 2 and "--host 192.0.2.1: cannot be listened on" in err


def test_an_invitation_that_was_taken_back_has_no_password_to_reset(here: Path):
    label("invite", "ann")
    label("account", "ann", "--state", "left")
    code, _, err = label("invite", "ann", "--reset")
    assert code == 2 and "taken back before anybody accepted it" in err and "anew" in err
    assert "Activate" not in err
