"""Prompts that labelers write: how they come into the store, go out again, and stay their own."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from people import START, Fresh, add_labeler, add_prompt, at
from sqlalchemy import select

from preceptor.data.hygiene import split_of
from preceptor.data.records import Demonstration
from preceptor.data.records import Prompt as PromptRecord
from preceptor.errors import StoreError
from preceptor.store.database import Store
from preceptor.store.export import Filter, export_records
from preceptor.store.forms import check_form, form_of
from preceptor.store.inbox import recent_tasks
from preceptor.store.ingest import import_labels, import_prompts, read_file
from preceptor.store.labels import reopen, submit, undo
from preceptor.store.projects import (
    Candidate,
    ProjectOptions,
    add_tasks,
    create_project,
    prompts_without_task,
)
from preceptor.store.questions import PAPER
from preceptor.store.queue import claim, release, skip, view
from preceptor.store.rows import Provenance
from preceptor.store.tables import Account, Consent, Judgement, Prompt, PromptUser
from preceptor.store.writing import add_writing

PLAIN = {"prompt": "Write a limerick about rain.", "use_case": "generation"}
FEW_SHOT: dict[str, Any] = {
    "instruction": "Say the opposite.",
    "pairs": [
        {"query": "hot", "response": "cold"},
        {"query": "up", "response": "down"},
        {"query": "wet", "response": "dry"},
    ],
    "use_case": "other",
}


def project_of(session: Any, task_type: str = "prompt_plain", **tasks: Any) -> uuid.UUID:
    project = create_project(session, task_type, task_type, ProjectOptions(), now=START)
    assert add_writing(session, project, **(tasks or {"num": 3}))["added"]
    return project


def write(session: Any, project: uuid.UUID, who: uuid.UUID, form: Any, seconds: float = 0) -> Any:
    """Claim and submit; the task."""
    task = claim(session, project, who, now=at(seconds))
    assert task is not None
    submit(session, task.id, who, key=task.key, form=form, now=at(seconds))
    return task


def prompts(session: Any) -> list[Prompt]:
    return list(session.scalars(select(Prompt).order_by(Prompt.received_at, Prompt.id)))


def test_what_is_written_is_a_prompt_of_its_labeler_with_consent_by_contract(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        task = write(session, project_of(session), ann, PLAIN | {"comment": "fun"})
        assert task.prompt == "" and task.responses == []
        [prompt] = prompts(session)
        account = session.get_one(Account, ann)
        user = session.get_one(PromptUser, prompt.user_id)
        assert (prompt.content, prompt.use_case) == (PLAIN["prompt"], "generation")
        assert (prompt.origin, prompt.kind, prompt.author_id) == ("labeler", "plain", ann)
        assert user.pseudonym == account.pseudonym.replace("lab_", "usr_")
        assert user.split == prompt.split == split_of(user.pseudonym)
        said = session.execute(select(Consent.scope, Consent.channel, Consent.event)).all()
        assert sorted(said) == [("evaluate", "contract", "given"), ("train", "contract", "given")]
        # It can be asked about like any other.
        for scope in ("train", "evaluate"):
            asked = prompts_without_task(
                session, None, split=user.split, limit=9, seed=0, scope=scope
            )
            assert [p.prompt for p in asked] == [PLAIN["prompt"]]
        # And is counted by its use case, which the label says.
        assert session.scalars(select(Judgement.use_case)).all() == ["generation"]
        assert [t.prompt for t in recent_tasks(session, ann)] == [PLAIN["prompt"]]


def test_nobody_judges_their_own_prompt(store: Store):
    with store.write() as session:
        ann, bob = (add_labeler(session, store, name) for name in ("ann", "bob"))
        write(session, project_of(session), ann, PLAIN)
        [prompt] = prompts(session)
        ranking = create_project(session, "r", "ranking", ProjectOptions(overlap=2), now=START)
        add_tasks(session, ranking, {prompt.id: [Candidate("a"), Candidate("b")]})
        assert claim(session, ranking, ann, now=START) is None
        assert claim(session, ranking, bob, now=START) is not None


def test_an_undo_takes_the_prompt_back_and_a_revision_replaces_it(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        project = project_of(session)
        task = write(session, project, ann, PLAIN)
        undo(session, task.id, ann, now=at(10))
        [prompt] = prompts(session)
        assert (prompt.status, prompt.reason) == ("rejected", "taken back by its labeler")
        # Sent again as it was, it is the same prompt.
        again = view(session, task.id, ann)
        assert again.draft == PLAIN
        submit(session, task.id, ann, key=again.key, form=again.draft, now=at(20))
        assert [p.status for p in prompts(session)] == ["active"]
        # Revised, the new one stands for it; undone, the one before is there again.
        form, key = reopen(session, task.id, ann)
        new = form | {"prompt": "Write a sonnet about snow.", "use_case": "other"}
        submit(session, task.id, ann, key=key, form=new, now=at(30))
        status = {p.content: (p.status, p.use_case) for p in prompts(session)}
        assert status == {
            PLAIN["prompt"]: ("rejected", "generation"),
            "Write a sonnet about snow.": ("active", "other"),
        }
        undo(session, task.id, ann, now=at(40))
        status = {p.content: (p.status, p.use_case) for p in prompts(session)}
        assert status[PLAIN["prompt"]] == ("active", "generation")
        assert status["Write a sonnet about snow."][0] == "rejected"


def test_what_was_erased_is_not_brought_back_by_an_undo(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        task = write(session, project_of(session), ann, PLAIN)
        form, key = reopen(session, task.id, ann)
        new = form | {"prompt": "Write a sonnet about snow."}
        submit(session, task.id, ann, key=key, form=new, now=at(10))
        [first] = [p for p in prompts(session) if p.status == "rejected"]
        first.status = "erased"
        undo(session, task.id, ann, now=at(20))
        assert {p.status for p in prompts(session)} == {"erased", "rejected"}


LONG = "You are the editor of a small newspaper in a town by the sea, and every morning letters "
REPETITIONS = [
    ("WRITE a limerick\n about rain.", "in the same words but for case and spacing"),
    ("Write a limerick about rain!", "nearly the same as a prompt of yours: “Write a limerick"),
    (
        LONG + "come in. Answer the one about gulls.",
        "begins like a prompt of yours for 109 characters",
    ),
]


def test_a_repetition_is_told_and_its_rule_named(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        project = project_of(session)
        write(session, project, ann, PLAIN)
        earlier = LONG + "come in. Answer the other, which is about the tram."
        write(session, project, ann, PLAIN | {"prompt": earlier}, 1)
        task = claim(session, project, ann, now=at(2))
        assert task is not None
        for text, told in REPETITIONS:
            form = PLAIN | {"prompt": text}
            with pytest.raises(StoreError, match=told):
                submit(session, task.id, ann, key=task.key, form=form, now=at(2))
        assert len(prompts(session)) == 2


PERSONAL = [
    ("Write to jo@acme.com for me.", "an e-mail address in it: “jo@acme.com”", "<EMAIL_1>"),
    ("Call +49 30 901820 and complain.", "a phone number in it: “+49 30 901820”", "<PHONE_1>"),
    ("Pay with 4111 1111 1111 1111.", "a card number in it: “4111 1111 1111 1111”", "<CARD_1>"),
    ("Pay to DE89 3704 0044 0532 0130 00.", "an account number in it", "<IBAN_1>"),
    ("Who is at 93.184.216.34?", "an IP address in it: “93.184.216.34”", "<IP_1>"),
    ("My key is AKIAABCDEFGHIJKLMNOP, is it safe?", "a key of a service in it", "<KEY_1>"),
]


@pytest.mark.parametrize(("text", "told", "instead"), PERSONAL)
@pytest.mark.parametrize("task_type", ["prompt_plain", "prompt_user_based", "prompt_few_shot"])
def test_personal_data_do_not_come_in_with_what_labelers_write(
    store: Store, task_type: str, text: str, told: str, instead: str
):
    forms = {
        "prompt_few_shot": [
            FEW_SHOT | {"instruction": text},
            FEW_SHOT | {"pairs": [*FEW_SHOT["pairs"], {"query": text, "response": "x"}]},
            FEW_SHOT | {"pairs": [*FEW_SHOT["pairs"], {"query": "x", "response": text}]},
        ]
    }
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        briefs = {"descriptions": ["a shop"]} if task_type == "prompt_user_based" else {}
        project = project_of(session, task_type, **briefs)
        task = claim(session, project, ann, now=START)
        for form in forms.get(task_type, [PLAIN | {"prompt": text}]):
            with pytest.raises(StoreError) as refused:
                submit(session, task.id, ann, key=task.key, form=form, now=START)
            assert told in str(refused.value) and f"Write {instead} in its place" in str(
                refused.value
            )
        assert prompts(session) == []
        # With the placeholder it is taken; what it stands for was looked for, and not found.
        right = FEW_SHOT if task_type == "prompt_few_shot" else PLAIN | {"prompt": f"To {instead}"}
        submit(session, task.id, ann, key=task.key, form=right, now=START)
        assert [prompt.masked for prompt in prompts(session)] == [{}]


def test_what_another_wrote_may_be_near_but_not_the_same(store: Store):
    with store.write() as session:
        bob = add_labeler(session, store, "bob")
        add_prompt(session, "Tell me a story of the sea.")
        session.get_one(Prompt, prompts(session)[0].id).normal_sha256 = _normal("tell me a story ")
        project = project_of(session)
        write(session, project, add_labeler(session, store, "ann"), PLAIN)
        task = claim(session, project, bob, now=START)
        assert task is not None
        for text in ("Tell me a story", "write a limerick about rain."):
            with pytest.raises(StoreError, match="there already, in the same words"):
                form = PLAIN | {"prompt": text}
                submit(session, task.id, bob, key=task.key, form=form, now=START)
        near = PLAIN | {"prompt": "Write a limerick about rain and wind."}
        submit(session, task.id, bob, key=task.key, form=near, now=START)


def _normal(text: str) -> str:
    from preceptor.store.rows import normal_hash

    return normal_hash(text)


def test_descriptions_are_tasks_once_each_and_go_to_labelers_as_they_are(store: Store):
    with store.write() as session:
        ann, bob = (add_labeler(session, store, name) for name in ("ann", "bob"))
        options = ProjectOptions(overlap=2)
        project = create_project(session, "u", "prompt_user_based", options, now=START)
        lines = ["Sort the feedback of guests", "", "  Sort the feedback of guests ", "Plan meals"]
        assert add_writing(session, project, descriptions=lines) == {"added": 2, "there already": 0}
        assert add_writing(session, project, descriptions=lines) == {"added": 0, "there already": 2}
        with pytest.raises(StoreError, match="after descriptions of use cases"):
            add_writing(session, project, num=5)
        seen = {
            who: write(session, project, who, PLAIN | {"prompt": f"{who}"}).prompt
            for who in (ann, bob)
        }
        assert seen[ann] == seen[bob] in lines  # what is begun is finished first
        assert {p.kind for p in prompts(session)} == {"user_based"}
        task = claim(session, project, ann, now=at(1))
        assert task is not None and {task.prompt, seen[ann]} == {lines[0], "Plan meals"}
        assert recent_tasks(session, ann, limit=1)[0].prompt == task.prompt
        skip(session, task.id, ann, reason="unclear_task", now=at(2))
        assert claim(session, project, ann, now=at(3)) is None


def test_more_tasks_are_more_and_a_task_can_be_given_back(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        project = project_of(session, num=1)
        assert add_writing(session, project, num=1)["added"] == 1
        task = claim(session, project, ann, now=START)
        assert task is not None
        assert claim(session, project, ann, now=at(1)).id == task.id  # type: ignore[union-attr]
        release(session, task.id, ann)
        for i in range(2):
            write(session, project, ann, PLAIN | {"prompt": ["Say hello.", "Count."][i]}, 2 + i)
        assert claim(session, project, ann, now=at(9)) is None
        other = create_project(session, "d", "demonstration", ProjectOptions(), now=START)
        with pytest.raises(StoreError, match="no project in which prompts are written"):
            add_writing(session, other, num=1)
        with pytest.raises(StoreError, match="prompts are written there, none is asked about"):
            add_tasks(session, project, {})
        with pytest.raises(StoreError, match="make the purpose train"):
            create_project(session, "e", "prompt_plain", ProjectOptions("eval"), now=START)


@pytest.mark.parametrize(
    ("task_type", "form", "told"),
    [
        ("prompt_plain", {"prompt": " ", "use_case": "chat"}, "The prompt is empty. Write it"),
        ("prompt_plain", {"prompt": "x"}, "Choose the kind of task"),
        ("prompt_user_based", {"prompt": "x", "use_case": "x"}, "Choose the kind of task"),
        ("prompt_plain", {"prompt": "x", "response": "y"}, "response: no such field here"),
        ("prompt_plain", {"prompt": 3}, "The prompt must be text, it is int"),
        ("prompt_few_shot", FEW_SHOT | {"instruction": ""}, "The instruction is empty"),
        ("prompt_few_shot", FEW_SHOT | {"pairs": FEW_SHOT["pairs"][:1]}, "1 pair of query and res"),
        ("prompt_few_shot", FEW_SHOT | {"pairs": FEW_SHOT["pairs"] * 3}, "9 pairs of query and"),
        (
            "prompt_few_shot",
            FEW_SHOT | {"pairs": [{"query": "q"}, *FEW_SHOT["pairs"]]},
            "Pair 1 has no response. Write it, or empty the pair",
        ),
        ("prompt_few_shot", FEW_SHOT | {"pairs": "hot"}, '"pairs" is a list of'),
        ("demonstration", {"response": "x" * 100_001}, "response has 100,001 characters; 100,000"),
        ("prompt_plain", {"prompt": "x" * 100_001}, "prompt has 100,001 characters; 100,000"),
        (
            "prompt_few_shot",
            FEW_SHOT | {"instruction": "x" * 100_000},
            "instruction with all pairs has 100,0",
        ),
    ],
)
def test_a_form_that_is_not_whole_says_what_is_missing(task_type: str, form: Any, told: str):
    with pytest.raises(StoreError, match=told):
        check_form(task_type, form, [], PAPER)


def test_a_few_shot_form_comes_back_as_it_was_without_its_empty_pairs():
    pairs = [FEW_SHOT["pairs"][0], {"query": " ", "response": ""}, *FEW_SHOT["pairs"][1:]]
    choices, texts = check_form(
        "prompt_few_shot", FEW_SHOT | {"pairs": pairs, "comment": "c"}, [], PAPER
    )
    assert choices == {"use_case": "other"}  # texts can be erased, choices stay
    assert form_of("prompt_few_shot", choices, texts) == FEW_SHOT | {"comment": "c"}


def test_few_shot_pairs_go_out_as_examples_and_the_prompt_asks_the_last(
    store: Store, fresh: Fresh, tmp_path: Path
):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        write(session, project_of(session, "prompt_few_shot"), ann, FEW_SHOT | {"comment": "hm"})
        [prompt] = prompts(session)
        split = prompt.split
        assert prompt.kind == "few_shot"
        assert prompt.content == "Say the opposite.\n\nhot\ncold\n\nup\ndown\n\nwet"
    first = export_records(store, Filter("demonstrations", split), tmp_path, now=at(99))
    rows = [json.loads(line) for line in first.path.read_text().splitlines()]
    assert sorted((row["prompt"], row["response"]) for row in rows) == sorted(
        [
            ("Say the opposite.\n\nup\ndown\n\nwet\ndry\n\nhot", "cold"),
            ("Say the opposite.\n\nhot\ncold\n\nwet\ndry\n\nup", "down"),
            (prompt.content, "dry"),
        ]
    )
    assert len({row["meta"]["split_group"] for row in rows}) == 1
    assert {row["user"] for row in rows} == {rows[0]["meta"]["labeler"].replace("lab_", "usr_")}
    of_prompts = export_records(store, Filter("prompts", split), tmp_path, now=at(99))
    [asked] = [json.loads(line) for line in of_prompts.path.read_text().splitlines()]
    assert (asked["prompt"], asked["meta"]["kind"]) == (prompt.content, "few_shot")

    # Into an empty store, and out again: the same bytes.
    other = fresh()
    for exported, kind in ((first, Demonstration), (of_prompts, PromptRecord)):
        file = read_file(Provenance(exported.path, "CC0", "contract", START), kind)
        with other.write() as session:
            (import_labels if kind is Demonstration else import_prompts)(
                session, other.site_key, file
            )
    again = export_records(other, Filter("demonstrations", split), tmp_path / "2", now=at(99))
    assert again.sha256 == first.sha256
    other.close()


def test_of_a_prompt_that_was_taken_back_no_example_goes_out(store: Store, tmp_path: Path):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        project = project_of(session, "prompt_few_shot")
        task = write(session, project, ann, FEW_SHOT)
        split = prompts(session)[0].split
    with pytest.raises(StoreError, match="Left out: 1 can still be undone"):
        export_records(store, Filter("demonstrations", split), tmp_path, now=at(10))
    with store.write() as session:
        undo(session, task.id, ann, now=at(10))
    for kind, reason in (("demonstrations", "1 withdrawn"), ("prompts", "taken back by its label")):
        with pytest.raises(StoreError, match=reason):
            export_records(store, Filter(kind, split), tmp_path, now=at(99))
