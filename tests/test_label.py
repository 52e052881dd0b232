"""`preceptor label`: from an empty folder to files that training takes, and every wrong turn."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from people import START, add_labeler, fill_in
from sqlalchemy import select
from toys import tiny_model, tiny_tokenizer
from typer.testing import CliRunner, Result

from preceptor.cli import app
from preceptor.data.records import Prompt, Ranking, read_records
from preceptor.errors import StoreError
from preceptor.models import save_model
from preceptor.recipes import dump_recipe, load_recipe
from preceptor.store.database import open_store
from preceptor.store.labels import submit
from preceptor.store.names import identify
from preceptor.store.queue import claim
from preceptor.store.tables import Ingest, Policy, Project, PromptUser, Response, Task
from preceptor.store.tables import Prompt as PromptRow

DECLARED = ["--licence", "CC0", "--consent", "the writers agreed"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    for seed, stage in enumerate(("sft", "ppo_ptx")):
        save_model(tiny_model(seed=seed), tiny_tokenizer(), folder / stage / "model")
        (folder / stage / "done.json").write_text("{}")
    keys = ["max_response_tokens=20", "max_prompt_tokens=20", "sft.precision=fp32"]
    (folder / "recipe.yaml").write_text(dump_recipe(load_recipe("miniature", keys)))
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PRECEPTOR_SITE_KEY", raising=False)
    return tmp_path


def label(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["label", *map(str, arguments)])


def told(*arguments: str | Path) -> str:
    result = label(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str | Path) -> str:
    result = label(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


def filled(num: int = 40, *, too_long: int = 0) -> None:
    told("init")
    letters = "abcdefghijklmn"
    rows = [
        {"prompt": f"{letters[i % 14]} {letters[i // 14]}", "user": f"u{i}"} for i in range(num)
    ]
    rows += [{"prompt": " ".join(letters * 4)}] * too_long
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert told("import", "p.jsonl", "--kind", "prompts", *DECLARED) == f"{len(rows):>8,}  added\n"


def work(*projects: str) -> int:
    """Two labelers finish all that there is in these projects."""
    store, done = open_store("labels.db"), 0
    with store.write() as session:
        labelers = [add_labeler(session, store, name) for name in ("ann", "bob")]
    for project, labeler in itertools.product(projects, labelers):
        while True:
            with store.write() as session:
                held = claim(session, identify("project", project), labeler, now=START)
                if held is None:
                    break
                submit(session, held.id, labeler, key=held.key, form=fill_in(held), now=START)
                done += 1
    store.close()
    return done


def test_a_store_is_made_once_and_only_its_owner_reads_it(here: Path):
    assert told("init") == "labels.db\n"
    key = Path("labels.db.key").read_bytes()
    assert told("init") == "labels.db\n"
    assert Path("labels.db.key").read_bytes() == key
    for name in ("labels.db", "labels.db.key"):
        assert (here / name).stat().st_mode & 0o077 == 0
    assert label("status").stdout == ""
    assert "no project yet" in label("status").stderr


def test_from_prompts_to_a_file_that_training_takes(run_folder: Path):
    filled()
    add = ["add", "--run", run_folder, "--model", "sft", "--k", "6", "--prompts", "12"]
    assert re.search(r"^ +12  added$", told(*add, "--calibration", "2"), re.MULTILINE)
    assert re.search(r"^ +12  added$", told(*add), re.MULTILINE)  # twelve others
    assert work("rankings") == 22 + 2 * 2
    out = told("export", "rankings", "--out", "out").strip()
    rankings = read_records(out, Ranking)
    assert len(rankings) == 26
    assert {len(r.responses) for r in rankings} == {6}
    assert {source for r in rankings for source in r.meta["sources"]} == {"sft"}
    status = told("status").splitlines()
    assert status[-3:] == [
        "rankings (ranking, open)",
        "  tasks 24, done 22; labels 26 of labelers 2",
        "  leased 0, skipped 0, surplus 0",
    ]
    assert max(map(len, status)) <= 80
    told("init", "--store", "other.db")
    again = ["import", out, "--kind", "rankings", *DECLARED, "--store", "other.db"]
    assert told(*again) == "      26  added\n"
    assert Path(told("export", "rankings", "--store", "other.db").strip()).name == Path(out).name


def test_responses_are_those_of_the_models_and_the_same_seed_draws_the_same(run_folder: Path):
    filled()
    both = ["--model", "sft", "--model", "ppo_ptx"]
    told("add", "--run", run_folder, *both, "--k", "4", "--prompts", "9", "--seed", "3")
    found = []
    for name in ("labels.db", "two.db"):
        if name == "two.db":  # pseudonyms, and with them the split, depend on the site key
            shutil.copy("labels.db.key", "two.db.key")
            told("init", "--store", name)
            told("import", "p.jsonl", "--kind", "prompts", *DECLARED, "--store", name)
            options = [*both, "--k", "4", "--prompts", "9", "--seed", "3", "--store", name]
            told("add", "--run", run_folder, *options)
        store = open_store(name)
        with store.read() as session:
            rows = session.execute(
                select(Policy.name, Response.prompt_id, Response.text, Policy.weights_sha256)
                .join(Policy)
                .order_by(Response.id)
            ).all()
        store.close()
        found.append([tuple(row) for row in rows])
    assert found[0] == found[1]
    by_model = {name: {row[3] for row in found[0] if row[0] == name} for name, *_ in found[0]}
    assert by_model.keys() == {"sft", "ppo_ptx"}
    assert all(len(hashes) == 1 and len(hashes.pop()) == 64 for hashes in by_model.values())
    told("add", "--task", "toxicity", "--run", run_folder, *both, "--k", "2", "--split", "train")
    store = open_store("labels.db")
    with store.read() as session:
        about = select(Project.name, Project.purpose, Task.sensitive).join(Task)
        made = about.where(Project.task_type == "toxicity").distinct()
        assert [tuple(row) for row in session.execute(made)] == [("toxicity", "eval", True)]
    store.close()


def test_a_prompt_that_is_too_long_is_not_chosen_again(run_folder: Path):
    filled(0, too_long=1)
    said = [label("add", "--run", run_folder, "--split", s) for s in ("train", "valid", "test") * 2]
    assert {result.exit_code for result in said} == {2}
    words = "".join(result.stderr for result in said)
    assert words.count("every prompt of the 1 chosen is longer") == 1
    assert words.count("no prompt in split") == 1
    assert words.count(" is empty: no user") == 4


def test_an_option_that_an_existing_project_does_not_take_is_told():
    filled(9)
    told("add", "--task", "demonstration", "--prompts", "1", "--overlap", "2")
    told("add", "--task", "demonstration", "--prompts", "1")
    told("add", "--task", "demonstration", "--prompts", "1", "--overlap", "2")
    add = ("add", "--task", "demonstration", "--prompts", "1")
    said = refused(*add, "--overlap", "3", "--group", "simulated")
    assert "made with labels of each task 2, not 3; groups researcher, training, not" in said
    assert "leave out --overlap and --group, or take another --project" in said
    more = ("--overlap-more", "3", "--overlap-fraction", "0.5")
    assert "labels of a share of tasks none, not 3" in refused(*add, *more)
    assert "more labels of a share of tasks need both" in refused(*add, *more[:2], "--project", "x")
    told(*add, *more, "--project", "shared")
    told(*add, *more, "--project", "shared")
    assert told(*add, "--practice") == "       1  added\n"
    assert "demonstrations, practice (demonstration, open)" in told("status")
    told(*add, "--group", "researcher", "--group", "training")
    assert "--group robots: no such group. There are training," in refused(
        *add, "--group", "robots"
    )
    assert "in the order of seed 0, since it was made" in label(*add, "--seed", "4").stderr


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_a_stop_in_sampling_leaves_a_new_project_unmade_and_an_older_one_as_it_was(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
):
    def stopped(*_: object, **__: object) -> None:
        raise stop

    filled()
    add = ["add", "--run", run_folder, "--k", "2", "--prompts", "2"]
    with monkeypatch.context() as patched:
        patched.setattr("preceptor.steps.responses.responses_of_models", stopped)
        assert label(*add).exit_code != 0
    assert "rankings" not in told("status")
    told(*add, "--overlap", "3")  # the name is free for other options
    before = told("status")
    assert "rankings (ranking, open)\n  tasks 2" in before
    with monkeypatch.context() as patched:
        patched.setattr("preceptor.steps.responses.responses_of_models", stopped)
        assert label(*add).exit_code != 0
    assert told("status") == before
    assert "labels of each task 3, not 1" in refused(*add, "--overlap", "1")


def test_who_made_the_project_during_sampling_is_not_overruled(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    from preceptor.steps import responses

    sample = responses.responses_of_models

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(responses, "responses_of_models", sample)
        told("add", "--run", run_folder, "--k", "2", "--prompts", "1", "--overlap", "2")
        return sample(*arguments, **options)

    filled()
    monkeypatch.setattr(responses, "responses_of_models", meanwhile)
    add = ["add", "--run", run_folder, "--k", "2", "--prompts", "2", "--overlap", "3"]
    assert "labels of each task 2, not 3" in refused(*add)


def test_simulated_labelers_get_what_is_made_for_them_and_an_export_counts_theirs():
    filled(9)
    told("add", "--task", "demonstration", "--prompts", "2")
    told("add", "--task", "demonstration", "--group", "simulated", "--project", "simulated")
    store = open_store("labels.db")
    with store.write() as session:
        robot = add_labeler(session, store, "robot", group="simulated")
        with pytest.raises(StoreError, match="not for the group simulated"):
            claim(session, identify("project", "demonstrations"), robot, now=START)
        while held := claim(session, identify("project", "simulated"), robot, now=START):
            form = {"response": "beep"}
            submit(session, held.id, robot, key=held.key, form=form, now=START)
    store.close()
    done = label("export", "demonstrations")
    manifest = json.loads(Path(done.stdout.strip().replace(".jsonl", ".manifest.json")).read_text())
    assert manifest["num_simulated"] == manifest["num_rows"] > 0
    assert f"{manifest['num_rows']:>8,}  rows are of simulated labelers\n" in done.stderr


def test_demonstrations_need_no_model_and_no_torch(here: Path):
    filled()
    code = (
        "import sys; from preceptor.cli import main\n"
        "for words in (['--help'], ['init', '--help'], ['status'],\n"
        "              ['add', '--task', 'demonstration', '--prompts', '5'],\n"
        "              ['export', 'prompts', '--split', 'train']):\n"
        "    sys.argv[1:] = ['label', *words]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'matplotlib', 'peft'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "       5  added\n" in done.stdout
    assert done.stdout.endswith("heavy: []\n")
    assert work("demonstrations") == 5
    [path] = here.glob("prompts-train-*.jsonl")
    assert read_records(path, Prompt)


def test_labelers_are_asked_for_prompts(here: Path):
    told("init")
    assert told("add", "--task", "prompt_plain", "--prompts", "7") == "       7  added\n"
    assert told("add", "--task", "prompt_plain", "--prompts", "2") == "       2  added\n"
    (here / "purposes.txt").write_text("Plan meals\n\nSort feedback\n")
    purposes = ["--task", "prompt_user_based", "--descriptions", "purposes.txt", "--overlap", "3"]
    assert told("add", *purposes) == "       2  added\n"
    assert told("add", *purposes) == "       2  there already\n"
    assert "labels of each task 3, not 2" in refused("add", *purposes[:4], "--overlap", "2")
    status = told("status")
    assert "plain prompts (prompt_plain, open)\n  tasks 9" in status
    assert "user-based prompts (prompt_user_based, open)\n  tasks 2" in status


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status"], "labels.db: no label store. `preceptor label init --store labels.db`"),
        (["init", "--store", "mysql://x/y"], "in SQLite or PostgreSQL, not in mysql"),
        (["init", "--store", "x:/y://z"], "not the address of a database"),
        (["init", "--store", "sqlite://"], "a store in memory would be lost"),
        (["init", "--store", "postgresql://a:secret@127.0.0.1:1/b"], "PRECEPTOR_SITE_KEY is not"),
        (["add"], "a ranking compares responses of models: name the run"),
        (["add", "--task", "toxicity"], "toxicity compares responses of models: name the run"),
        (["add", "--task", "demonstration", "--model", "sft"], "written by hand"),
        (["add", "--task", "prompt_plain", "--run", "x"], "do not go with prompt_plain"),
        (["add", "--task", "prompt_plain", "--practice"], "--practice does not go with"),
        (["add", "--task", "prompt_user_based"], "with one on each line: --descriptions FILE"),
        (["add", "--descriptions", "x"], "--descriptions goes with --task prompt_user_based"),
        (
            ["add", "--task", "prompt_user_based", "--descriptions", "none.txt"],
            "none.txt: cannot be read as text",
        ),
        (["add", "--task", "prompt_plain", "--source", "x"], "do not go with prompt_plain"),
        (["add", "--run", "nowhere"], "nowhere: not a run folder"),
        (["add", "--run", "x", "--model", "a", "--model", "a"], "name each once"),
        (
            ["import", "p.jsonl", "--kind", "prompts", "--project", "x", *DECLARED],
            "goes with label",
        ),
    ],
)
def test_a_wrong_turn_is_named_with_the_way_out(arguments: list[str], words: str):
    assert words in refused(*arguments)


def test_a_server_that_cannot_be_reached_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("PRECEPTOR_SITE_KEY", "0123456789abcdef")
    said = refused("init", "--store", "postgresql://ann:secret@127.0.0.1:1/labels")
    assert said.startswith("error: postgresql://ann:***@127.0.0.1:1/labels: cannot be opened: ")
    assert "secret" not in said


def test_prompts_that_repeat_others_are_kept_and_not_asked_about():
    told("init")
    long = "Please write a short and friendly letter to my neighbour about the garden. " * 2
    rows = [{"prompt": f"{long}{word}", "user": word} for word in ("Now.", "Soon.")]
    rows += [{"prompt": f"{i * 7919 % 997} {i * 104729:x}", "user": "a"} for i in range(1, 221)]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = told("import", "p.jsonl", "--kind", "prompts", *DECLARED)
    assert "1  begins as an earlier one for long" in counts
    assert "20  more than 200 of its user" in counts and "201  added" in counts
    assert "222  there already" in told("import", "p.jsonl", "--kind", "prompts", *DECLARED)
    told("init", "--store", "all.db")
    arguments = ["p.jsonl", "--kind", "prompts", "--keep-all", "--store", "all.db", *DECLARED]
    assert "222  added" in told("import", *arguments)
    assert "goes with prompts" in refused("import", "p.jsonl", "--kind", "rankings", *arguments[3:])


def test_what_is_too_long_is_left_out_and_its_line_named():
    told("init")
    rows = [{"prompt": "short"}, *({"prompt": f"{i}" * 150_000} for i in range(7))]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["import", "p.jsonl", "--kind", "prompts", *DECLARED]
    result = label(*command)
    assert result.exit_code == 0 and "7  too long" in result.stdout
    said = result.stderr.splitlines()
    assert said[0] == "p.jsonl:2: a text of 150,000 characters; 100,000 are the most."
    assert said[5:7] == [
        "and 2 more",
        "Import the file again with --max-chars to take them in as well.",
    ]
    assert "7  added" in told(*command, "--max-chars", "150000")
    assert "too long" not in told(*command, "--max-chars", "150000")


def test_what_consent_covers_and_whose_names_they_are_is_said_at_import():
    told("init")
    Path("p.jsonl").write_text('{"prompt": "q", "user": "1", "email": "bob@example.org"}\n')
    command = ["import", "p.jsonl", "--kind", "prompts", *DECLARED]
    assert "cannot cover sell" in refused(*command, "--scope", "sell")
    told(*command, "--scope", "evaluate", "--source", "an app")
    told(*command, "--scope", "train", "--source", "another app", "--keep-all", "--keep-meta")
    found = []
    for split in ("train", "valid", "test"):
        result = label("export", "prompts", "--split", split)
        if not result.exit_code:
            found += read_records(result.stdout.strip(), Prompt)
    [prompt] = found  # of two users with one name, one consents to training
    assert prompt.meta["email"] == "<EMAIL_1>"


def test_a_split_that_got_no_users_is_said_to_be_empty(run_folder: Path):
    told("init")
    assert told("status") == ""
    Path("p.jsonl").write_text('{"prompt": "a b", "user": "1"}\n')
    result = label("import", "p.jsonl", "--kind", "prompts", *DECLARED)
    store = open_store("labels.db")
    with store.read() as session:
        side = session.scalars(select(PromptRow.split)).one()
    others = [split for split in ("train", "valid", "test") if split != side]
    assert result.stderr.splitlines() == [
        f"       0  prompts of users in split {split}" for split in others
    ]
    assert told("status").splitlines() == [
        *(f"       0  prompts {split}" for split in others),
        f"       1  prompts {side}",
    ]
    evaluation = ["add", "--task", "evaluation", "--run", run_folder, "--k", "2"]
    more = "`preceptor label import FILE --kind prompts` brings more users"
    for there in ("train", "valid"):
        with store.write() as session:
            for row in (*session.scalars(select(PromptUser)), *session.scalars(select(PromptRow))):
                row.split = there
        said = refused(*evaluation)
        assert said.startswith("error: split test is empty: no user whose prompts are there was")
        assert f"drawn for it. {more}" in said
        assert (f"{more}, or take --split valid, here and of" in said) == (there == "valid")
    told(*evaluation, "--split", "valid")
    assert "does not ask about already" in refused(*evaluation, "--split", "valid")
    assert f"split train is empty: no user whose prompts are there was drawn for it. {more}.\n" in (
        refused("add", "--task", "demonstration")
    )
    store.close()


def test_only_prompts_of_a_source_are_asked_about():
    told("init")
    Path("p.jsonl").write_text('{"prompt": "The man said", "user": "1"}\n')
    add = ["add", "--task", "demonstration", "--split", "train", "--project", "d"]
    import_it = ["import", "p.jsonl", "--kind", "prompts", "--keep-all", *DECLARED]
    for source in ("", "beginnings", "survey"):
        told(*import_it, *(["--source", source] if source else []))
    store = open_store("labels.db")
    with store.write() as session:
        for user in session.scalars(select(PromptUser)):
            user.split = "train"
        for prompt in session.scalars(select(PromptRow)):
            prompt.split = "train"
    assert refused(*add, "--source", "toxic") == (
        "error: toxic: no such source. There are beginnings, survey.\n"
    )
    for sources in (["beginnings"], ["survey", ""]):
        named = [word for source in sources for word in ("--source", source)]
        told(*add, *named)
        with store.read() as session:
            rows = session.execute(
                select(Ingest.source).join(PromptRow).join(Task, Task.prompt_id == PromptRow.id)
            )
            assert set(sources) <= set(rows.scalars())
            assert len(session.scalars(select(Task.id)).all()) == (1 if len(sources) == 1 else 3)
    assert "no prompt of source survey in split train" in refused(*add, "--source", "survey")
    store.close()


def test_a_wrong_file_is_not_a_store():
    Path("other.db").write_text("hello")
    for verb in ("status", "init"):
        assert "other.db: not a database, or a damaged one" in refused(verb, "--store", "other.db")
    assert Path("other.db").read_text() == "hello"


def test_a_store_keeps_to_the_key_that_it_was_made_with(monkeypatch: pytest.MonkeyPatch):
    filled()
    key = Path("labels.db.key")
    first = key.read_text()
    key.unlink()
    assert "the site key is missing. Bring it back" in refused("init")
    assert not key.exists(), "a new key beside old pseudonyms"
    key.write_text("another key of at least 16 bytes")
    key.chmod(0o600)
    for verb in ("init", "status"):
        assert "labels.db: made with another site key. Bring back" in refused(verb)
    key.unlink()
    monkeypatch.setenv("PRECEPTOR_SITE_KEY", "another key of at least 16 bytes")
    assert "PRECEPTOR_SITE_KEY is set, and goes before the key's file" in refused("status")
    monkeypatch.setenv("PRECEPTOR_SITE_KEY", f" {first}\n")  # white space is not of the key
    told("status")


def test_half_a_key_is_never_taken_for_one():
    Path("labels.db.key.writing").write_text("0123456789abcdef")  # a machine went down here
    told("init")
    assert len(Path("labels.db.key").read_text()) == 65
    assert not Path("labels.db.key.writing").exists()


def test_a_key_that_others_can_read_or_that_is_missing_stops_the_command():
    filled()
    key = Path("labels.db.key")
    key.chmod(0o644)
    assert "others can read the site key. Run: chmod 600 labels.db.key" in refused("status")
    key.rename("elsewhere")
    assert "the site key is missing. Bring it back" in refused("status")


def test_a_broken_file_is_named_and_nothing_of_it_imported():
    filled(3)
    Path("bad.jsonl").write_text('{"prompt": "new"}\n{"prompt": ""}\n')
    command = ["import", "bad.jsonl", "--kind", "prompts", *DECLARED]
    said = refused(*command)
    assert said.splitlines() == [
        'error: bad.jsonl:2: "prompt" is empty. A prompt needs text there.',
        "bad.jsonl: nothing was imported. Mend what is broken, or leave it out with --skip-broken.",
    ]
    assert told(*command, "--skip-broken").splitlines() == [
        '       1  broken: "prompt" is empty. A prompt needs text there.',
        "       1  added",
    ]


def test_models_and_projects_that_are_not_there_are_named_with_those_that_are(run_folder: Path):
    filled(9)
    assert "nope: no such model. " in refused("add", "--run", run_folder, "--model", "nope")
    assert "has sft, ppo_ptx." in refused("add", "--run", run_folder, "--model", "nope")
    told("add", "--task", "demonstration")
    taken = refused("add", "--run", run_folder, "--project", "demonstrations")
    assert taken.startswith("error: demonstrations: there is a demonstration project of this name")
    assert "x: no such project. There are demonstrations." in refused(
        "export", "rankings", "--project", "x"
    )
    assert "No rankings to export in split train. There are none yet." in refused(
        "export", "rankings"
    )
    assert "No evaluations to export in split test." in refused("export", "evaluations")
    said = refused("add", "--task", "demonstration")
    assert "no prompt in split train that demonstrations does not ask about already" in said


@pytest.mark.slow
def test_sft_and_reward_train_on_what_is_exported(run_folder: Path, here: Path):
    """The whole way by the commands that a person types."""
    filled(60)
    told("add", "--run", run_folder, "--model", "sft", "--k", "4")
    told("add", "--task", "demonstration")
    work("rankings", "demonstrations")
    files = {
        kind: told("export", kind, "--out", "out").strip()
        for kind in ("rankings", "demonstrations")
    }
    recipe = {
        "extends": str(Path(__file__).parent / "tiny.yaml"),
        "name": "people",
        "model": str(run_folder / "sft" / "model"),
        "max_prompt_tokens": 20,
        "max_response_tokens": 20,
        "judge": "rubric",
        "corpus": None,
        "prompts": None,
        **dict.fromkeys(("pretrain", "ppo", "ppo_ptx")),
        **files,
    }
    Path("people.yaml").write_text(yaml.safe_dump(recipe))
    for stage in ("sft", "reward"):
        done = CliRunner().invoke(app, [stage, "people.yaml"])
        assert done.exit_code == 0, done.output
        assert (here / "runs" / "people" / stage / "done.json").is_file()


def test_a_person_is_erased_after_a_look_and_a_yes():
    filled(2)
    dry = told("erase", "--user", "u0", "--dry-run")
    assert re.fullmatch(r"usr_\w{26} has\n       1  prompts\n", dry)
    result = CliRunner().invoke(app, ["label", "erase", "--user", "u0"], input="n\n")
    assert result.exit_code == 1 and "1  prompts" in result.stderr
    assert "usr_" not in result.stdout  # which gets what was erased
    assert "for good?" in result.stderr
    for split in ("train", "valid", "test"):  # the site key, new here, draws the users' sides
        label("export", "prompts", "--split", split)
    done = label("erase", "--user", "u0", "--yes")
    assert done.stdout.replace(" erased\n", " has\n").startswith(dry)
    assert re.search(r"    hold  prompts prompts-\w+-\w{12}.jsonl\n +sha256 \w{64}\n", done.stdout)
    assert re.search(r"^ +1  prompts \w+, erased$", told("status"), re.MULTILINE)
    again = told("import", "p.jsonl", "--kind", "prompts", *DECLARED)
    assert again == "       1  erased\n       1  there already\n"
    assert re.search(r"0  texts, erased 20\d\d-", told("erase", "--user", "u0", "--yes"))
    assert "letter by letter" in refused("erase", "--user", "u9", "--yes")
    assert "Whom?" in refused("erase")
