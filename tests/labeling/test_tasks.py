"""A labeler's whole task without JavaScript: nothing typed is lost, whatever happens on the way."""

import itertools
import json
import re
import uuid
from typing import Any

import pytest
from browsers import PASSWORD, Browser, Clock, Enter, Page, make_project
from people import START
from sqlalchemy import func, select

from preceptor.errors import StoreError
from preceptor.labeling.settings import Settings
from preceptor.store.accounts import acknowledge, publish_guideline
from preceptor.store.competence import set_competence
from preceptor.store.database import Busy, Store
from preceptor.store.export import Filter, export_records
from preceptor.store.forms import SKIP_REASONS
from preceptor.store.inbox import set_accepts_sensitive
from preceptor.store.projects import set_guideline
from preceptor.store.questions import PAPER
from preceptor.store.tables import (
    Account,
    Assignment,
    Draft,
    Guideline,
    Submission,
    SubmissionText,
    Task,
)


def begin(browser: Browser, project: uuid.UUID) -> Page:
    """Press "begin" in the inbox."""
    return browser.open("/").press(ending=f"/projects/{project}/claim")


def rate_all(page: Page, likert: str = "4") -> Page:
    """Page (a) for each response, then page (b)."""
    while "/rate/" in page.path:
        page = page.press("next", likert=likert)
    assert page.path.endswith("/rank"), page.text
    return page


def labels(store: Store) -> list[dict[str, Any]]:
    """The submitted bodies, by slot, in the order they came."""
    with store.read() as session:
        rows = session.scalars(select(Submission).order_by(Submission.at, Submission.revision))
        return [row.body | {"kind": row.kind} for row in rows]


def texts_of(store: Store) -> list[str]:
    with store.read() as session:
        return list(session.scalars(select(SubmissionText.text)))


def test_a_demonstration_is_written_and_sent(store: Store, enter: Enter):
    project = make_project(store, "demonstration")
    page = begin(enter(), project)
    assert "demonstration prompt" in page.text
    written = (
        "\n A poem,\n  with an indent,\n\nand <b>tags</b> & \u05e2\u05d1\u05e8\u05d9\u05ea 🎈\n"
    )
    page = page.press(
        "stop", response=written, label_ambiguous="yes", label_use_case="chat", comment="hard"
    )
    assert page.path == "/"
    assert "Submitted" in page.text
    assert set(texts_of(store)) == {written, "hard"}
    [label] = labels(store)
    # What was not said is not "no".
    assert label["prompt_labels"] == {"use_case": "chat", "ambiguous": True}


def test_an_empty_response_is_told_and_the_rest_is_kept(store: Store, enter: Enter):
    page = begin(enter(), make_project(store, "demonstration"))
    page = page.press("submit", response="  ", comment="I am unsure", label_ambiguous="no")
    assert page.status == 400
    assert page.alerts == ["The response is empty. Write it, or skip the task with a reason."]
    assert page.work["fields"]["comment"] == "I am unsure"
    assert page.work["fields"]["label_ambiguous"] == "no"
    assert page.press("submit", response="done").path == "/"
    assert sorted(texts_of(store)) == ["I am unsure", "done"]


# 2.7.1 and 2.7.3


def test_nothing_is_ranked_at_first_and_the_missing_ones_are_named(store: Store, enter: Enter):
    page = rate_all(begin(enter(), make_project(store)))
    ranks = {name for name in page.work["choices"] if name.startswith("rank_")}
    assert ranks == {"rank_1", "rank_2", "rank_3"}
    assert not ranks & page.work["fields"].keys()
    page = page.press("submit", rank_2="1", comment="two are alike")
    assert page.status == 400
    assert page.alerts == [
        "Responses 1 and 3 have no rank yet. Give each one a place; ties are welcome."
    ]
    assert page.work["fields"]["rank_2"] == "1"
    assert page.work["fields"]["comment"] == "two are alike"
    assert labels(store) == []
    page = page.press("submit", rank_1="1", rank_3="unacceptable")
    assert page.path == "/"
    assert texts_of(store) == ["two are alike"]


def test_what_is_stored_is_by_slot_and_what_was_said(store: Store, enter: Enter):
    page = begin(enter(), make_project(store))
    page = page.press("next", likert="7", flag_hallucination="on", flag_satisfies_constraint="yes")
    page = page.press("next", likert="2", flag_satisfies_constraint="no")
    page = page.press("next", likert="2")
    page.press("submit", rank_1="2", rank_2="3", rank_3="2")
    [label] = labels(store)
    with store.read() as session:
        order = session.scalars(select(Assignment.display_order)).one()
    ratings = {str(i + 1): label["ratings"][slot] for i, slot in enumerate(order)}
    assert [ratings[p]["likert"] for p in "123"] == [7, 2, 2]
    assert [ratings[p]["flags"]["satisfies_constraint"] for p in "123"] == [True, False, None]
    assert ratings["1"]["flags"]["hallucination"] is True
    said = [
        flag for flag in PAPER.flag_names if flag not in ("hallucination", "satisfies_constraint")
    ]
    assert all(ratings[p]["flags"][flag] is False for p in "123" for flag in said)
    # Rank 1 stayed empty and is squeezed out.
    assert label["rank_groups"] == [sorted([order[0], order[2]]), [order[1]]]
    assert label["unacceptable"] == []


@pytest.mark.parametrize("count", [2, 4, 9])
def test_from_two_to_nine_of_any_length(store: Store, enter: Enter, count: int):
    texts = [
        "x",
        "line\n" * 1600,
        "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u0645",
        "👩‍👩‍👧‍👦 and ✈️",
        "def f(x):\n\treturn x < 3 and 'a' > \"b\"\n",
        "#" * 8000,
        "six",
        "seven",
        "eight",
    ][:count]
    page = begin(enter(), make_project(store, tasks={"a prompt": texts}))
    seen = []
    while "/rate/" in page.path:
        seen.append(page.html)
        page = page.press("next", likert="3")
    ranks = {f"rank_{i + 1}": str(i + 1) for i in range(count)}
    page = page.press("stop", **ranks)
    assert page.path == "/"
    for text in texts:
        assert sum(f">{_escaped(text.strip())}<" in html for html in seen) == 1
    [label] = labels(store)
    assert len(label["rank_groups"]) == count


def _escaped(text: str) -> str:
    for character, entity in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("'", "&#39;"),
        ('"', "&#34;"),
    ):
        text = text.replace(character, entity)
    return text


# 2.7.5


def test_page_b_is_closed_until_all_are_rated(store: Store, enter: Enter):
    ann = enter()
    page = begin(ann, make_project(store)).press("next", likert="5")
    rank = page.path.replace("/rate/2", "/rank")
    page = ann.open(rank)
    assert page.path.endswith("/rate/2")
    assert "Rate each response first" in page.alerts[0]
    page = page.press("go-rank")
    assert page.path.endswith("/rate/2")
    forced = page.work["fields"] | {
        "action": "submit",
        "rank_1": "1",
        "rank_2": "2",
        "rank_3": "3",
        "ratings": json.dumps({"1": {"likert": 5}}),
    }
    answer = ann.post(rank, data=forced)
    assert ann.follow(answer).path.endswith("/rate/2")
    assert labels(store) == []
    # And the ranks that were posted are not lost.
    page = rate_all(ann.open(page.path))
    assert page.work["fields"]["rank_3"] == "3"


def test_next_without_a_quality_stays_and_keeps_the_flags(store: Store, enter: Enter):
    page = begin(enter(), make_project(store)).press("next", flag_fails_task="on")
    assert page.status == 400
    assert "1 to 7" in page.alerts[0]
    assert page.work["fields"]["flag_fails_task"] == "on"
    page = page.press("next", likert="1").press("back")
    assert page.work["fields"]["likert"] == "1"
    assert page.work["fields"]["flag_fails_task"] == "on"
    page = rate_all(page).press("go-3")
    assert page.path.endswith("/rate/3")


# 2.7.6


def test_a_draft_is_there_on_another_device(store: Store, enter: Enter):
    project = make_project(store, "demonstration")
    page = begin(enter(), project).press("save", response="half a tho")
    assert page.work["fields"]["response"] == "half a tho"
    phone = enter("ann")
    assert begin(phone, project).work["fields"]["response"] == "half a tho"


def test_a_stale_tab_is_offered_both(store: Store, enter: Enter):
    ann = enter()
    first = begin(ann, make_project(store, "demonstration"))
    second = ann.open(first.path)
    second.press("save", response="from the second tab")
    both = first.press("save", response="from the first tab")
    assert both.status == 409
    assert "from the first tab" in both.text
    assert "from the second tab" in both.text
    # Looking at the other one changes nothing; taking mine replaces it knowingly.
    assert ann.open(first.path).work["fields"]["response"] == "from the second tab"
    page = both.press(ending="/choose")
    assert page.work["fields"]["response"] == "from the first tab"
    assert page.press("submit").path == "/"
    assert texts_of(store) == ["from the first tab"]


def test_a_stale_rating_is_offered_both_too(store: Store, enter: Enter):
    ann = enter()
    first = begin(ann, make_project(store))
    second = ann.open(first.path)
    second.press("save", likert="7")
    both = first.press("next", likert="1")
    assert both.status == 409
    assert ann.open(first.path).work["fields"]["likert"] == "7"
    page = both.press(ending="/choose")
    assert page.path.endswith("/rate/2")
    assert page.press("back").work["fields"]["likert"] == "1"


def test_a_script_saves_by_the_same_form_and_hears_of_others(store: Store, enter: Enter):
    ann = enter()
    page = begin(ann, make_project(store, "demonstration"))
    fields = page.work["fields"] | {"response": "typed", "action": "save"}

    def save(**changes: Any) -> Any:
        data = fields | changes
        return ann.post(page.path, data=data, headers={"Accept": "application/json"})

    first = save()
    assert first.status_code == 200
    assert save(draft_version=first.json()["version"], response="typed on").status_code == 200
    stale = save(draft_version="0", response="typed elsewhere")
    assert stale.status_code == 412
    assert stale.json()["error"]["type"] == "conflict_error"
    ann.open(page.path).press("submit", response="final")
    # A save that was on its way when the form was sent opens no revision.
    late = save(response="typed on")
    assert late.status_code == 409
    assert ann.open(page.path).forms and "key" not in ann.open(page.path).html


# 2.7.7


def test_the_same_form_sent_again_is_one_label(store: Store, enter: Enter):
    ann = enter()
    page = rate_all(begin(ann, make_project(store)))
    fields = page.work["fields"] | {"rank_1": "1", "rank_2": "1", "rank_3": "2", "action": "submit"}
    ends = {ann.follow(ann.post(page.path, data=fields)).path for _ in range(4)}
    assert ends == {"/"}
    assert len(labels(store)) == 1


def test_other_answers_under_the_same_key_are_kept_as_a_draft(store: Store, enter: Enter):
    ann = enter()
    page = begin(ann, make_project(store, "demonstration"))
    page.press("submit", response="first")
    other = page.press("submit", response="second, from an old tab")
    assert other.status == 409
    assert "kept as a draft" in other.alerts[0]
    assert texts_of(store) == ["first"]
    page = ann.open(page.path)
    assert page.work["fields"]["response"] == "second, from an old tab"
    assert "What you submitted counts until you send this" in page.text
    assert "Submitted 01 Mar" in page.press(ending="/discard").text
    assert texts_of(store) == ["first"]


# 2.7.8


def test_undo_gives_the_form_back_for_a_minute(store: Store, enter: Enter, clock: Clock):
    ann = enter()
    page = rate_all(begin(ann, make_project(store)))
    done = page.press("submit", rank_1="2", rank_2="1", rank_3="unacceptable", comment="so")
    clock.pass_(seconds=60)
    done = ann.open("/?done=" + page.path.split("/")[2])
    again = done.press(ending="/undo")
    assert again.path.endswith("/rank")
    fields = again.work["fields"]
    assert [fields[f"rank_{i}"] for i in (1, 2, 3)] == ["2", "1", "unacceptable"]
    assert fields["comment"] == "so"
    assert [label["kind"] for label in labels(store)] == ["submitted", "withdrawn"]
    again.press("submit", rank_3="3")
    assert [label["kind"] for label in labels(store)] == ["submitted", "withdrawn", "submitted"]


def test_after_a_minute_revise_is_offered(store: Store, enter: Enter, clock: Clock):
    ann = enter()
    page = begin(ann, make_project(store, "demonstration"))
    stale = page.press("submit", response="first")
    assert {form["action"].split("/")[-1] for form in stale.forms} >= {"undo", "revise"}
    clock.pass_(seconds=61)
    page = ann.open(page.path)
    assert {form["action"].split("/")[-1] for form in page.forms} == {"logout", "revise"}
    late = stale.press(ending="/undo")
    assert late.status == 409
    assert "Open the task again to revise" in late.alerts[0]
    page = late.press(ending="/revise")
    assert page.work["fields"]["response"] == "first"
    assert [label["kind"] for label in labels(store)] == ["submitted"]  # it counts until then
    page.press("submit", response="second")
    assert sorted(texts_of(store)) == ["first", "second"]


def test_a_closed_project_offers_neither(store: Store, enter: Enter):
    ann = enter()
    project = make_project(store, "demonstration")
    path = begin(ann, project).press("submit", response="first").path
    assert path == "/"
    from preceptor.store.tables import Project

    with store.write() as session:
        session.get_one(Project, project).state = "closed"
        task = session.scalars(select(Assignment.id)).one()
    page = ann.open(f"/tasks/{task}")
    assert {form["action"] for form in page.forms} == {"/logout"}
    for act in ("undo", "revise"):
        answer = ann.submit(f"/tasks/{task}/{act}")
        assert answer.status_code == 409
        assert "closed" in Page(ann, answer).alerts[0]


# 2.7.9


def test_a_lease_that_ran_out_costs_nothing(store: Store, enter: Enter, clock: Clock):
    project = make_project(store, "demonstration")
    page = begin(enter(), project)
    clock.pass_(hours=2)
    assert page.press("submit", response="late").path == "/"
    assert texts_of(store) == ["late"]


def test_what_others_finished_meanwhile_is_kept_as_an_extra(
    store: Store, enter: Enter, clock: Clock
):
    project = make_project(store, "demonstration")
    ann, bob = enter("ann"), enter("bob")
    late = begin(ann, project)
    clock.pass_(hours=2)
    assert "No task is left" not in begin(bob, project).press("submit", response="bob's").alerts
    page = late.press("submit", response="ann's")
    assert "kept as an extra" in page.text
    assert sorted(texts_of(store)) == ["ann's", "bob's"]
    with store.read() as session:
        assert session.scalar(select(func.sum(Task.taken))) == 1
    assert "kept as an extra" in ann.open("/recent").text


# 2.7.10


@pytest.mark.parametrize("reason", SKIP_REASONS)
def test_a_skipped_task_goes_to_somebody_else(store: Store, enter: Enter, reason: str):
    project = make_project(store, "demonstration")
    ann, bob = enter("ann"), enter("bob")
    skipping = begin(ann, project).press("skip", response="half of it")
    assert skipping.path.endswith("/skip")
    page = skipping.press(ending="/skip", reason=reason, comment="words")
    assert page.path == "/"
    assert "No task is left" in page.text
    assert "Your projects: Write responses." in ann.open("/").text
    with pytest.raises(ValueError, match="expected 1, got 0"):
        begin(ann, project)  # there is no button
    assert "demonstration prompt" in begin(bob, project).text
    with store.read() as session:
        skipped = session.scalars(select(Assignment).where(Assignment.state == "skipped")).one()
    assert (skipped.skip_reason, skipped.skip_comment) == (reason, "words")


def test_a_skip_needs_a_reason_and_the_last_one_needs_words(store: Store, enter: Enter):
    page = begin(enter(), make_project(store, "demonstration")).press("skip")
    page = page.press(ending="/skip", comment="some words")
    assert page.status == 400
    assert page.form("/skip")["fields"]["comment"] == "some words"
    page = page.press(ending="/skip", reason="other", comment=" ")
    assert page.alerts == ["Say in a few words why you skip it."]
    assert page.form("/skip")["fields"]["reason"] == "other"


def test_a_task_can_be_given_back(store: Store, enter: Enter):
    project = make_project(store, "demonstration")
    ann, bob = enter("ann"), enter("bob")
    page = begin(ann, project).press("skip", response="half of it")
    assert page.press(ending="/release").path == "/"
    page = begin(bob, project)
    assert page.work["fields"]["response"] == ""  # a draft is nobody else's
    page.press("skip").press(ending="/release")
    assert begin(ann, project).work["fields"]["response"] == "half of it"


# 2.7.11


def test_equal_texts_are_shown_once_and_tied(store: Store, enter: Enter):
    tasks = {"a prompt": ["same", " same\n", "other", "same"]}
    page = begin(enter(), make_project(store, tasks=tasks))
    shown = []
    while "/rate/" in page.path:
        shown.append(page.html.count(">same<") + page.html.count(">other<"))
        page = page.press("next", likert="4")
    assert shown == [1, 1]
    page.press("submit", rank_1="1", rank_2="2")
    [label] = labels(store)
    assert sorted(len(group) for group in label["rank_groups"]) == [1, 3]
    assert len(label["ratings"]) == 4


# 2.7.12


def test_a_new_guideline_is_read_first_and_stands_in_the_record(
    store: Store, enter: Enter, clock: Clock, tmp_path: Any
):
    project = make_project(store, "demonstration", {"p1": [], "p2": []})
    with store.write() as session:
        publish_guideline(session, "writing", "# Be kind\n\n<script>x</script>", now=clock())
        set_guideline(session, project, "writing")
    ann = enter()
    page = ann.open("/")
    assert not [form for form in page.forms if "claim" in form["action"]]
    assert ann.submit(f"/projects/{project}/claim").headers["location"].endswith("/guideline")
    page = ann.open(f"/projects/{project}/guideline")
    assert "<h1>Be kind</h1>" in page.html
    assert "&lt;script&gt;" in page.html
    # A version that came between is to be read as well.
    with store.write() as session:
        publish_guideline(session, "writing", "# Be true", now=clock())
    page = page.press(ending="/guideline")
    assert page.path.endswith("/guideline")
    assert "<h1>Be true</h1>" in page.html
    page = page.press(ending="/guideline")
    assert "Be true" in page.html
    assert "writing@2" in page.text
    with store.write() as session:
        publish_guideline(session, "writing", "# Be short", now=clock())
    assert "Be true" in ann.open(page.path).html  # the task in hand keeps its version
    page = page.press("submit", response="words")
    assert page.path == "/"
    assert [link for link in page.links if link.endswith("/guideline")]
    clock.pass_(hours=1)
    exported = export_records(
        store, Filter("demonstrations", "train", None, False), tmp_path, now=clock()
    )
    [line] = exported.path.read_text().splitlines()
    assert json.loads(line)["meta"]["guideline"] == "writing@2"


def test_somebody_else_s_confirmation_does_not_count(store: Store, enter: Enter, clock: Clock):
    project = make_project(store, "demonstration")
    bob = enter("bob")
    with store.write() as session:
        publish_guideline(session, "writing", "# Be kind", now=clock())
        set_guideline(session, project, "writing")
        guideline = session.scalars(select(Guideline.id)).one()
        acknowledge(session, bob.account, guideline, now=clock())
    assert begin(bob, project).path.endswith("/write")
    assert (
        enter("ann").submit(f"/projects/{project}/claim").headers["location"].endswith("/guideline")
    )


# 2.7.13


def test_sensitive_tasks_are_for_those_who_accept_them(store: Store, enter: Enter):
    project = make_project(store, "demonstration", sensitive=True)
    ann = enter()
    assert "No task is left" in ann.open("/").text
    page = ann.open("/profile")
    page = page.press(ending="/profile", accepts_sensitive="on")
    assert page.form("/profile")["fields"]["accepts_sensitive"] == "on"
    page = begin(ann, project)
    assert "This task may disturb" in page.text
    assert re.search(r'<body class="task write veiled"', page.html)
    # The note is heard before the texts.
    assert page.html.index("This task may disturb") < page.html.index("demonstration prompt")
    with store.write() as session:
        set_accepts_sensitive(session, ann.account, False)
    assert "accepts_sensitive" not in ann.open("/profile").form("/profile")["fields"]
    # Among the recent tasks, too, and when it is done, they are not shown unasked.
    done = page.press("stop", response="mine", revealed="1")
    for found in (done, ann.open("/recent")):
        assert "A text that may disturb" in found.text
        assert "demonstration prompt" not in found.text
    finished = ann.open(page.path)
    assert finished.html.index("<details>") < finished.html.index("demonstration prompt")


@pytest.mark.parametrize("task_type", ["demonstration", "evaluation_ab"])
def test_what_is_sent_with_its_texts_blurred_is_asked_about_once(
    store: Store, enter: Enter, task_type: str
):
    project = make_project(store, task_type, sensitive=True)
    ann = enter()
    with store.write() as session:
        set_accepts_sensitive(session, ann.account, True)
    right = {"response": "mine"} if task_type == "demonstration" else {"choice": "tie"}
    # What is missing is told first.
    page = begin(ann, project).press("stop")
    assert "blurred when you sent this" not in page.text and page.alerts
    page = page.press("stop", **right)
    assert page.status == 400 and "The texts were blurred when you sent this" in page.alerts[0]
    with store.read() as session:
        assert session.scalars(select(Submission.id)).all() == []
        assert session.scalars(select(Draft.body)).one().items() >= right.items()
    assert 'id="reveal" name="revealed" value="1" form="work">' in page.html
    page = page.press("stop")  # as it is
    assert page.path == "/" and "Submitted" in page.text
    # Revised, it is not asked about again; nor is what was shown.
    page = page.press(ending="/revise").press("stop", comment="more")
    assert page.path == "/"
    tasks = {"another": [] if task_type == "demonstration" else ["one", "two"]}
    shown = make_project(store, task_type, tasks, name="shown", sensitive=True)
    page = begin(ann, shown)
    assert page.press("stop", **right, revealed="1").path == "/"


def test_with_nothing_to_be_blurred_nobody_is_asked(store: Store, enter: Enter):
    project = make_project(store, "prompt_plain", sensitive=True)
    ann = enter()
    with store.write() as session:
        set_accepts_sensitive(session, ann.account, True)
    page = begin(ann, project).press("stop", prompt="Insult me.", use_case="chat")
    assert page.path == "/" and "Submitted" in page.text


# 2.7.15


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'-alert(1)-'",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "<a href='javascript:alert(1)'>x</a>",
    "&lt;b&gt;",
    "<!-- -->",
    "<style>*{display:none}</style>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_texts_of_others_are_shown_as_text(store: Store, enter: Enter, attack: str):
    ann = enter()
    tasks = {f"{attack} prompt": [f"{attack} one", f"{attack} two"]}
    pages = [begin(ann, make_project(store, tasks=tasks))]
    pages.append(rate_all(pages[0]))
    pages.append(pages[-1].press("save", comment=attack))
    pages.append(pages[-1].press("submit", rank_1="1"))
    written = begin(ann, make_project(store, "demonstration", {"p": []}, name="w"))
    pages.append(written.press("save", response=attack))
    pages += [written.press("save", response=f"{attack}2"), ann.open("/"), ann.open("/recent")]
    for page in pages:
        assert _escaped(attack) in page.html
        # Nothing of it became markup: the tags are those of our templates.
        tags = set(re.findall(r"<\s*(script|img|svg|style|a)\b([^>]*)", page.html))
        for tag, attributes in tags:
            assert tag in ("script", "a"), page.path
            assert "alert" not in attributes
            assert tag != "script" or 'src="/static/' in attributes
    assert written.press("submit", response=attack).status in (200, 409)


def test_what_cannot_be_seen_is_marked(store: Store, enter: Enter):
    hidden = "safe\u202e\u2066txt.exe\u200b\x07 a\u00adb 👩\u200d👧 \u0645\u06cc\u200c\u062e"
    page = begin(enter(), make_project(store, tasks={hidden: ["one\ufeff", "two"]}))
    for mark in ("U+202E", "U+2066", "U+200B", "U+0007", "U+00AD"):
        assert mark in page.html
    assert "\u202e" not in page.html
    assert "👩\u200d👧" in page.html  # a joiner within an emoji stays
    assert "\u06cc\u200c\u062e" in page.html


# 2.7.16


def test_no_byte_tells_of_the_model(store: Store, enter: Enter):
    ann = enter()
    page = begin(ann, make_project(store, tasks={"a prompt": [" one ", "two\n", "three"]}))
    received = [page.html]
    while "/rate/" in page.path:
        page = page.press("next", likert="4")
        received.append(page.html)
    received.append(page.press("submit", rank_1="1").html)
    page = page.press("submit", rank_1="1", rank_2="2", rank_3="3")
    received += [page.html, ann.open("/recent").html, ann.open(page.path).html]
    with store.read() as session:
        connection = session.connection().connection
        secrets = [
            str(value)
            for table, column in (
                ("policy", "id"),
                ("policy", "name"),
                ("policy", "run"),
                ("policy", "weights_sha256"),
                ("response", "id"),
                ("project", "name"),
                ("task", "id"),
                ("prompt", "id"),
                ("assignment", "display_seed"),
            )
            for (value,) in connection.execute(f"SELECT {column} FROM {table}")
        ]
    ids = (secret.replace("-", "") for secret in secrets)  # SQLite has them without
    shapes = [uuid.UUID(id) for id in ids if re.fullmatch(r"[0-9a-f]{32}", id)]
    assert len(shapes) >= 5
    everything = "\n".join(received)
    for secret in [*secrets, *map(str, shapes), *(shape.hex for shape in shapes)]:
        assert secret not in everything
    assert "> one" not in everything  # white space around a response may tell, too
    for word in ("policy", "slot", "sampling", "finish_reason", "logprob", "seed"):
        assert word not in everything


def test_the_order_is_each_labeler_s_own(store: Store, enter: Enter):
    project = make_project(store, tasks={"p": list("abcdef")}, overlap=4)
    orders = set()
    for name in ("ann", "bob", "cy", "dee"):
        page = begin(enter(name), project)
        orders.add(tuple(re.findall(r'dir="auto">([a-f])<', rate_all(page).html)))
    assert len(orders) > 1
    assert all(sorted(order) == list("abcdef") for order in orders)


# Others' work


def test_a_task_of_somebody_else_is_not_there(store: Store, enter: Enter):
    ann, bob = enter("ann"), enter("bob", role="admin")
    page = begin(ann, make_project(store, "demonstration"))
    task = page.path.split("/")[2]
    for path in ("", "/write", "/rank", "/rate/1", "/skip", "/kept"):
        assert bob.get(f"/tasks/{task}{path}").status_code == 404
    for path in ("write", "skip", "release", "heartbeat", "undo", "revise", "choose", "discard"):
        answer = bob.submit(f"/tasks/{task}/{path}", form="{}", reason="broken", action="submit")
        assert answer.status_code == 404, path
    made_up = str(uuid.uuid4())
    assert bob.get(f"/tasks/{task}").text == bob.get(f"/tasks/{made_up}").text
    assert bob.get("/tasks/not-a-uuid").status_code == 404
    assert page.press("submit", response="mine").path == "/"


def test_pages_that_a_task_does_not_have(store: Store, enter: Enter):
    ann = enter()
    ranking = begin(ann, make_project(store)).path.split("/")[2]
    writing = begin(ann, make_project(store, "demonstration", name="w")).path.split("/")[2]
    for path in (
        f"{ranking}/write",
        f"{ranking}/rate/4",
        f"{ranking}/rate/0",
        f"{ranking}/rate/x",
        f"{writing}/rank",
        f"{writing}/rate/1",
    ):
        assert ann.get(f"/tasks/{path}").status_code == 404, path
        assert ann.submit(f"/tasks/{path}", action="save").status_code == 404, path


def test_a_paused_account_gets_nothing_new_and_keeps_what_it_has(store: Store, enter: Enter):
    from preceptor.store.standing import set_state

    ann = enter()
    project = make_project(store, "demonstration", {"p1": [], "p2": []})
    page = begin(ann, project)
    with store.write() as session:
        set_state(session, ann.account, "paused", now=START)
    assert page.press("submit", response="done").path == "/"
    assert texts_of(store) == ["done"]
    assert "Your account is paused" in ann.open("/").text
    assert not [form for form in ann.open("/").forms if "claim" in form["action"]]


def test_held_out_labelers_see_no_training_project(store: Store, enter: Enter):
    held_out = enter("hal", group="heldout")
    train = make_project(store)
    make_project(
        store, "evaluation", {"q": ["a", "b"]}, name="e", purpose="eval", groups=("heldout",)
    )
    page = held_out.open("/")
    assert "Evaluate responses" in page.text
    assert "Rate and rank" not in page.text
    assert held_out.submit(f"/projects/{train}/claim").status_code == 400


def test_recent_tasks_are_one_s_own_page_by_page(store: Store, enter: Enter, clock: Clock):
    prompts = {f"prompt {i:02}": [] for i in range(33)}
    project = make_project(store, "demonstration", prompts)
    ann = enter()
    page = begin(ann, project)
    for _ in range(32):
        clock.pass_(minutes=1)
        page = page.press("submit", response="an answer")
    first = ann.open("/recent")
    [older] = [link for link in first.links if "before" in link]
    second = ann.open(older)
    seen = [set(re.findall(r"prompt \d\d", page.html)) for page in (first, second)]
    assert [len(part) for part in seen] == [30, 3]
    assert not seen[0] & seen[1]
    assert "You have had no task yet" in enter("bob").open("/recent").text


def test_time_at_work_is_kept_if_it_was_counted(store: Store, enter: Enter):
    project = make_project(store, "demonstration", {f"p{i}": [] for i in range(5)})
    page = begin(enter(), project)
    for value in ("81.24", "", "nan", "-3", "a while"):
        fields = page.work["fields"] | {
            "response": "x",
            "active_seconds": value,
            "action": "submit",
        }
        page = page.browser.follow(page.browser.post(page.path, data=fields))
    with store.read() as session:
        seconds = session.scalars(select(Submission.active_seconds)).all()
    assert sorted(filter(None, seconds)) == [81.2]
    assert len(seconds) == 5


def test_what_was_typed_is_shown_when_a_sign_in_ended(store: Store, enter: Enter, clock: Clock):
    page = begin(enter(), make_project(store, "demonstration"))
    clock.pass_(days=2)
    fields = page.work["fields"] | {"response": "hours of <work>", "action": "submit"}
    answer = page.browser.post(page.path, data=fields)
    assert answer.status_code == 401
    assert "hours of &lt;work&gt;" in answer.text
    assert labels(store) == []
    # Signed in again elsewhere: the token of the old page is not right any more.
    page.browser.post("/login", data={"login": "ann", "password": PASSWORD})
    answer = page.browser.post(page.path, data=fields)
    assert answer.status_code == 403
    assert "hours of &lt;work&gt;" in answer.text


def test_what_was_typed_is_shown_when_the_store_is_busy(
    store: Store, enter: Enter, monkeypatch: pytest.MonkeyPatch
):
    page = begin(enter(), make_project(store, "demonstration"))

    def busy(*_: Any, **__: Any) -> None:
        raise Busy("The label store is busy.")

    monkeypatch.setattr("preceptor.labeling.task_pages.submit", busy)
    page = page.press("submit", response="hours of work")
    assert page.status == 503
    assert "hours of work" in page.html


def test_answers_that_were_set_aside_can_be_taken(store: Store, enter: Enter):
    ann = enter()
    page = begin(ann, make_project(store, "demonstration"))
    page.press("submit", response="first")
    for text in ("second", "third"):  # old tabs, each with other answers
        assert page.press("submit", response=text).status == 409
    page = ann.open(page.path)
    assert page.work["fields"]["response"] == "third"
    kept = ann.open(next(link for link in page.links if link.endswith("/kept")))
    assert "second" in kept.text
    [form] = [form for form in kept.forms if "/kept/" in form["action"]]
    page = kept.press("take", ending=form["action"])
    assert page.work["fields"]["response"] == "second"
    assert not [link for link in page.links if link.endswith("/kept")]
    assert texts_of(store) == ["first"]


def test_broken_fields_are_no_mistake_of_ours(store: Store, enter: Enter):
    ann = enter()
    page = rate_all(begin(ann, make_project(store)))
    good = page.work["fields"] | {"rank_1": "1", "rank_2": "1", "rank_3": "1", "action": "submit"}
    wrong = [
        {"key": "none"},
        {"key": str(uuid.uuid4())},
        {"ratings": "{"},
        {"ratings": "[" * 5000},
        {"ratings": '{"1": {"likert": NaN}}'},
        {"ratings": '{"9": {"likert": 3}}'},
        {"ratings": '{"1": {"likert": "x"}, "2": 3, "3": null}'},
        {"draft_version": "x" * 50},
        {"rank_1": "9"},
        {"rank_1": "-1"},
        {"comment": "a\0b"},
        {"action": "fly"},
        {"label_use_case": "<b>"},
        {"likert": "12"},
    ]
    for changes in wrong:
        for path in (page.path, page.path.replace("/rank", "/rate/2")):
            assert ann.post(path, data=good | changes).status_code in (200, 303, 400, 409), changes
    json_form = ("{", "[]", "null", '{"a": NaN}', "[" * 5000)
    for form in json_form:
        answer = ann.submit(f"/tasks/{page.path.split('/')[2]}/choose", form=form)
        assert answer.status_code == 400


def test_two_projects_of_a_type_are_told_apart_without_their_names(store: Store, enter: Enter):
    make_project(store, name="sft against ppo")
    make_project(store, tasks={"other": ["a", "b"]}, name="ppo against gpt")
    html = enter().open("/").html
    assert "Rate and rank responses 1" in html
    assert "Rate and rank responses 2" in html
    assert "ppo" not in html


def test_two_hundred_steps_in_any_order_lose_nothing(store: Store, enter: Enter):
    """Every page of a task answers to every button in every state of it."""
    ann = enter()
    page = begin(ann, make_project(store))
    task = page.path.split("/")[2]
    acts = ("undo", "revise", "release", "discard", "heartbeat")
    steps = ("rate/1", "rate/2", "rate/3", "rank")
    buttons = ("save", "next", "back", "submit", "stop", "go-rank")
    posts = list(itertools.product(steps, buttons))
    for i, (step, button) in enumerate(posts * 2):
        opened = ann.open(f"/tasks/{task}/{step}")
        if any("key" in form["fields"] for form in opened.forms):
            fields = opened.work["fields"] | {"action": button, "likert": str(i % 7 + 1)}
            fields |= {f"rank_{p}": str((i + int(p)) % 3 + 1) for p in "123"}
            assert ann.follow(ann.post(opened.path, data=fields)).status in (200, 400, 409)
        answer = ann.submit(f"/tasks/{task}/{acts[i % len(acts)]}")
        assert answer.status_code in (200, 303, 409), answer.text
    with store.read() as session:
        kinds = session.scalars(select(Submission.kind)).all()
        taken = session.scalars(select(Task.taken)).one()
        state = session.scalars(select(Assignment.state)).one()
    assert "submitted" in kinds
    assert taken == (state in ("submitted", "leased"))


def test_the_default_settings_have_no_debugging():
    assert Settings().https is False
    assert Settings().max_body_bytes <= 2_000_000


def test_labelers_say_what_they_know_and_the_lead_reads_it(store: Store, enter: Enter):
    ann = enter("ann")
    with store.write() as session:
        session.get_one(Account, ann.account).state = "screening"  # type: ignore[attr-defined]
    lead = enter("lea", role="researcher", group="researcher")
    card = f"/lead/screening/{ann.account}"
    assert "Not said yet" in lead.get(card).text and "not said" in lead.get("/lead/screening").text
    page = ann.open("/profile")
    assert "You have not said yet" in page.text
    page = page.press(ending="/competence", topic_law="on", topic_speech_age="on", language_de="on")
    assert "Your lead sees it" in page.text and "You have not said yet" not in page.text
    assert page.text.count("Law") == 2  # the box, and its fold while that is closed
    fields = page.form("/competence")["fields"]
    assert {name for name in fields if name != "csrf"} == {
        "topic_law",
        "topic_speech_age",
        "language_de",
    }
    told = " ".join(lead.open(card).text.split())
    assert "Subjects Law" in told and "it about age" in told and "well German" in told
    assert "2 topics, de" in " ".join(lead.open("/lead/screening").text.split())
    ann.submit("/profile/competence")
    assert "0 topics, no language" in " ".join(lead.open("/lead/screening").text.split())
    with store.write() as session, pytest.raises(StoreError, match="x: not on the list"):
        set_competence(session, ann.account, ["x"], [])
