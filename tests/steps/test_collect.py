"""Rankings through the store and its app are those of the labelers in process, file for file."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from people import fill_in
from sqlalchemy import func, select

from preceptor.config import Recipe
from preceptor.data.records import Prompt, Ranking, read_records, write_records
from preceptor.errors import StoreError
from preceptor.miniature.answers import respond
from preceptor.miniature.demonstrations import Flaws, demonstrate
from preceptor.miniature.prompts import make_prompts, make_users
from preceptor.miniature.world import make_world
from preceptor.randomness import python_random
from preceptor.recipes import load_recipe
from preceptor.steps import collect
from preceptor.steps.asked import demonstrations_from_store, rank_in_store, rankings_of_rows
from preceptor.steps.collect import LabelsMissing
from preceptor.steps.labels import rank
from preceptor.store.accounts import accept_invitation, acknowledge, invite, newest_guideline
from preceptor.store.database import create_store, open_store
from preceptor.store.labels import submit
from preceptor.store.queue import claim
from preceptor.store.tables import Account, Project, Submission

SMALL = ("rank.num_labelers=4", "rank.num_heldout_labelers=3", "rank.labels_per_prompt=3")


def recipe_of(*overrides: str) -> Recipe:
    return load_recipe("miniature", [*SMALL, *overrides])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder in which responses were sampled, by hand."""
    world, rng = make_world(0), python_random(0, "test")
    users = make_users(0)
    for part, split, num in (("train", "reward", 14), ("valid", "reward_valid", 6)):
        rows = []
        prompts = make_prompts(world, split, num, users[split])
        write_records(tmp_path / "data" / f"prompts-reward-{part}.jsonl", prompts)
        for prompt in prompts:
            task, size = prompt.meta["task"], rng.randint(4, 6)
            texts = [respond(world, task, rng, Flaws().draw(rng)) for _ in range(size)]
            beside = {"finished": [True] * size, "sources": ["sft"] * size}
            rows.append(asdict(prompt) | {"responses": texts} | beside)
        # Nobody is asked about these; and the last two of the first are one text on a page.
        rows[3]["responses"] = ["the same", " the same "] * (len(rows[3]["responses"]) // 2)
        rows[3] |= {key: rows[3][key][: len(rows[3]["responses"])] for key in beside}
        rows[0]["responses"][-1] = rows[0]["responses"][-2] + " "
        write_records(tmp_path / "data" / f"responses-{part}.jsonl", rows)
    return tmp_path


def without_names(rankings: list[Ranking]) -> list[Ranking]:
    """The n-th labeler of a file is called n."""
    names: dict[str, str] = {}
    return [replace(r, labeler=names.setdefault(r.labeler, str(len(names)))) for r in rankings]


def read(run: Path, part: str) -> list[Ranking]:
    return read_records(run / "data" / f"rankings-{part}.jsonl", Ranking)


def test_the_app_gives_the_very_rankings_of_the_labelers_in_process(run: Path):
    rank(recipe_of(), run)
    expected = {part: read(run, part) for part in ("train", "valid")}
    rank_in_store(recipe_of("labels=store"), run)
    for part, rankings in expected.items():
        found = read(run, part)
        assert len(found) == (13 * 3 if part == "train" else 5 * 2)
        assert without_names(found) == without_names(rankings)
        assert all(r.labeler.startswith("lab_") for r in found)
    # What training reads comes from a hashed export with its manifest.
    [exported] = (run / "data" / "labels").glob("rankings-train-*.jsonl")
    line = json.loads(exported.read_text().splitlines()[0])
    assert line["meta"]["labeler_group"] == "simulated" and line["meta"]["ratings"]
    assert exported.with_name(exported.stem + ".manifest.json").is_file()


def test_an_interrupted_run_goes_on_where_it_was(run: Path, monkeypatch: pytest.MonkeyPatch):
    """Stopped after some labels, with tasks in hand: the same labelers come back to them."""
    rank(recipe_of(), run)
    expected = {part: read(run, part) for part in ("train", "valid")}
    whole = collect.work_in_turns

    def interrupted(people: Any, project: str, turns: Any, known: Any, **options: Any) -> Any:
        whole(people, project, turns[:11], known, **options, to_the_end=False)
        for place in turns[11:13]:  # claimed, and never handed in
            people[place].client.claim(project)
        raise KeyboardInterrupt

    recipe = recipe_of("labels=store")
    monkeypatch.setattr(collect, "work_in_turns", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rank_in_store(recipe, run)
    assert not list((run / "data" / "labels").glob("*"))
    monkeypatch.setattr(collect, "work_in_turns", whole)
    rank_in_store(recipe, run)
    for part, rankings in expected.items():
        assert without_names(read(run, part)) == without_names(rankings)


def test_with_people_the_run_ends_until_their_labels_are_in(run: Path, tmp_path: Path):
    where = str(tmp_path / "team.db")
    recipe = recipe_of("labels=people", f"label_store={where}", "rank.labels_per_prompt=1")
    with pytest.raises(LabelsMissing) as missing:
        rank_in_store(recipe, run)
    told = str(missing.value)
    assert told.startswith("23 of 23 labels are missing:")
    assert "13 in miniature rank train" in told and "10 in miniature rank valid" in told
    assert f"`preceptor label serve --store {where}`" in told
    assert all(len(line) <= 80 for line in told.replace(where, "labels.db").splitlines())
    store = open_store(where)
    with store.read() as session:
        projects = session.scalars(select(Project).order_by(Project.name)).all()
        assert [p.groups for p in projects] == [
            ["training", "simulated"],
            ["heldout", "training", "simulated"],
        ]
    done = 0
    for name in ("ann", "ben"):
        with store.write() as session:
            _, token = invite(session, store.site_key, name, now=datetime.now(UTC))
            account = accept_invitation(
                session, token, password_hash="x", now=datetime.now(UTC), screened=True
            )
            guideline = newest_guideline(session, "ranking")
            assert guideline is not None
            acknowledge(session, account, guideline.id, now=datetime.now(UTC))
        for project in projects:
            while True:
                with store.write() as session:
                    view = claim(session, project.id, account, now=datetime.now(UTC))
                    if view is None:
                        break
                    submit(
                        session,
                        view.id,
                        account,
                        key=view.key,
                        form=fill_in(view),
                        now=datetime.now(UTC),
                    )
                    done += 1
        if name == "ann":
            with pytest.raises(LabelsMissing, match=f"{23 - done} of 23 labels are missing"):
                rank_in_store(recipe, run)
    store.close()
    rank_in_store(recipe, run)
    assert len(read(run, "train")) == 13 and len(read(run, "valid")) == 10
    assert read(run, "train")[0].meta["task"] == read_records_meta(run)[0]["task"]


def read_records_meta(run: Path) -> list[dict[str, Any]]:
    lines = (run / "data" / "responses-train.jsonl").read_text().splitlines()
    return [json.loads(line)["meta"] for line in lines]


def test_other_responses_are_other_questions(run: Path, tmp_path: Path):
    """The same store again, after the responses were sampled anew: old labels answer nothing."""
    where = str(tmp_path / "team.db")
    recipe = recipe_of("labels=people", f"label_store={where}")
    with pytest.raises(LabelsMissing):
        rank_in_store(recipe, run)
    path = run / "data" / "responses-train.jsonl"
    path.write_text(path.read_text().replace("the same", "another"))
    with pytest.raises(LabelsMissing):
        rank_in_store(recipe, run)
    store = open_store(where)
    with store.read() as session:
        assert session.scalar(select(func.count()).select_from(Project)) == 3
        assert session.scalar(select(func.count()).select_from(Submission)) == 0
        assert session.scalar(select(func.count()).select_from(Account)) == 0
    store.close()


def test_a_store_that_is_there_is_never_made_anew(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PRECEPTOR_SITE_KEY", raising=False)
    (tmp_path / "notes.db").write_text("not a database at all, and somebody's")
    recipe = recipe_of("labels=people", f"label_store={tmp_path / 'notes.db'}")
    with pytest.raises(StoreError, match="not a database"):
        rank_in_store(recipe, run)
    assert (tmp_path / "notes.db").read_text().startswith("not a database")
    create_store(str(tmp_path / "theirs.db"))
    key = (tmp_path / "theirs.db.key").read_text()
    with pytest.raises(LabelsMissing):
        rank_in_store(recipe_of("labels=people", f"label_store={tmp_path / 'theirs.db'}"), run)
    assert (tmp_path / "theirs.db.key").read_text() == key


def test_exported_labels_come_back_to_their_rows_in_order(run: Path):
    rank(recipe_of(), run)
    rankings = read(run, "train")
    prompts = read_records(run / "data" / "responses-train.jsonl", Prompt)
    shuffled = []
    for number, ranking in enumerate(rankings):
        order = python_random(0, "shuffle", number).sample(
            range(len(ranking.ranks)), len(ranking.ranks)
        )
        shuffled.append(
            replace(
                ranking,
                responses=[ranking.responses[i] for i in order],
                ranks=[ranking.ranks[i] for i in order],
                meta={"started_at": f"{number:04}"},
            )
        )
    python_random(0, "rows").shuffle(shuffled)
    assert rankings_of_rows(prompts, shuffled) == rankings


def test_demonstrations_come_back_as_the_source_has_them(tmp_path: Path):
    """Written into the page by simulated labelers, exported, and the same as without the detour."""
    world, users = make_world(0), make_users(0)
    rng = python_random(0, "demonstrations")
    records = {
        "train": [
            demonstrate(world, p, rng) for p in make_prompts(world, "train", 9, users["train"])
        ],
        "valid": [
            demonstrate(world, p, rng) for p in make_prompts(world, "valid", 3, users["valid"])
        ],
    }
    recipe = recipe_of("labels=store")
    assert demonstrations_from_store(recipe, tmp_path, records) == records
    assert len(list((tmp_path / "data" / "labels").glob("demonstrations-*-*.jsonl"))) == 2
    # Again, all is there: nobody is asked.
    assert demonstrations_from_store(recipe, tmp_path, records) == records
