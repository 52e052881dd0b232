"""The whole task in a real browser: by keys alone, by mouse, by touch, and with scripts off."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from browsers import PASSWORD, add_member, make_project
from chromium import CTRL, Chromium, find_program
from sqlalchemy import select

from preceptor.labeling.app import create_app
from preceptor.store.accounts import account_named, publish_guideline
from preceptor.store.database import Store
from preceptor.store.inbox import set_accepts_sensitive
from preceptor.store.labels import submit
from preceptor.store.projects import set_guideline
from preceptor.store.questions import read_questions
from preceptor.store.queue import claim, view
from preceptor.store.screening import set_gold
from preceptor.store.tables import Assignment, Draft, Prompt, Submission, SubmissionText

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_program() is None, reason="no chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def site(store: Store) -> Iterator[str]:
    """The app on a port of this machine."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(store), port=0, log_level="warning", access_log=False)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(chromium: Chromium, site: str, store: Store) -> Iterator[Chromium]:
    """Ann, signed in, at a desk; at the end nothing has complained."""
    chromium.call("Network.clearBrowserCookies")
    chromium.scripts(True)
    chromium.offline(False)
    chromium.dark(False)
    chromium.resize(1280, 900)
    chromium.site = site  # type: ignore[attr-defined]
    add_member(store, "ann")
    sign_in(chromium, site)
    chromium.js("localStorage.clear()")
    chromium.complaints.clear()
    yield chromium
    assert chromium.complaints == []


def sign_in(page: Chromium, site: str) -> None:
    page.open(site + "/login")
    page.click("input[name=login]")
    page.write("ann")
    page.press("Tab")
    page.write(PASSWORD)
    page.leave(lambda: page.press("Enter"))
    assert page.path == "/"


def begin(page: Chromium, project: Any) -> None:
    page.leave(lambda: page.click(f"form[action$='{project}/claim'] button"))


def label_of(store: Store) -> dict[str, Any]:
    """The one label, by position."""
    with store.read() as session:
        [submission] = session.scalars(select(Submission)).all()
        [assignment] = session.scalars(select(Assignment)).all()
        texts = dict(session.execute(select(SubmissionText.field, SubmissionText.text)).all())
        place = {slot: str(i + 1) for i, slot in enumerate(assignment.display_order)}
    body = submission.body
    return {
        "groups": [sorted(place[slot] for slot in group) for group in body["rank_groups"]],
        "unacceptable": sorted(place[slot] for slot in body.get("unacceptable", [])),
        "ratings": {place[slot]: rating for slot, rating in body["ratings"].items()},
        "seconds": submission.active_seconds,
        **texts,
    }


def draft_of(store: Store) -> Any:
    with store.read() as session:
        return session.scalars(select(Draft.body)).one_or_none()


def saved(store: Store, holds: Any) -> None:
    """Wait until the draft is as it should be."""
    deadline = time.monotonic() + 20
    while not (draft_of(store) is not None and holds(draft_of(store))):
        assert time.monotonic() < deadline, draft_of(store)
        time.sleep(0.02)


WANTED = {"groups": [["2"], ["1", "4"], ["3"]], "unacceptable": ["3"]}
FOUR = {"which is best?": ["alpha", "beta", "gamma", "delta"]}


def rate_by_keys(page: Chromium, count: int = 4) -> None:
    for i in range(count):
        assert page.path.endswith(f"/rate/{i + 1}")
        page.press(str(i + 2))
        page.leave(lambda: page.press("Enter", CTRL))
    assert page.path.endswith("/rank")


def rate_all(page: Chromium, count: int) -> None:
    for _ in range(count):
        page.press("4")
        page.leave(lambda: page.press("Enter", CTRL))
    assert page.path.endswith("/rank")


def check_record(store: Store) -> None:
    label = label_of(store)
    assert {name: label[name] for name in WANTED} == WANTED
    assert [label["ratings"][p]["likert"] for p in "1234"] == [2, 3, 4, 5]


def test_the_whole_task_by_keys_alone(page: Chromium, store: Store):
    make_project(store, tasks=FOUR)
    page.open(page.site + "/")
    page.tab_to("form[action$='/claim'] button")
    page.leave(lambda: page.press("Enter"))
    # Page (a): digits rate, letters flag, Ctrl+Enter goes on.
    page.press("c")
    assert page.js("document.querySelector('[name=flag_hallucination]').checked")
    assert page.text("#said") == "Makes something up: yes"
    rate_by_keys(page)
    # Page (b).
    assert page.js("document.querySelectorAll('.card input:checked').length") == 0
    page.press("j")
    assert page.js("document.activeElement.id") == "card-1"
    page.press("2")
    assert page.text("#said") == "Response 1: rank 2"
    page.press("j")
    page.press("1")
    page.press("j")
    page.press("0")
    assert page.text("#said") == "Response 3: unacceptable"
    page.press("j")
    page.press("3")
    page.press("=")
    assert page.text("#said") == "Response 4: rank 2, tied with response 1"
    page.press("ArrowDown")
    page.press("ArrowUp")
    page.press("k")
    assert page.js("document.activeElement.id") == "card-3"
    page.press("?")
    assert page.js("document.getElementById('keys').open")
    page.press("Escape")
    assert not page.js("document.getElementById('keys').open")
    page.leave(lambda: page.press("Enter", CTRL))
    assert page.path == "/"
    check_record(store)
    label = label_of(store)
    assert label["ratings"]["1"]["flags"]["hallucination"] is True
    assert label["seconds"] is not None


def test_the_same_by_mouse(page: Chromium, store: Store):
    project = make_project(store, tasks=FOUR)
    page.open(page.site + "/")
    begin(page, project)
    for i in range(4):
        page.click(f"input[name=likert][value='{i + 2}']")
        page.leave(lambda: page.click("[data-submit]"))
    page.drag(".chip[data-position='1']", ".rung[data-rank='2']")
    assert page.js("document.querySelector('[name=rank_1]:checked').value") == "2"
    page.drag(".chip[data-position='2']", ".rung[data-rank='1']")
    page.drag(".chip[data-position='4']", ".rung[data-rank='2']")
    page.drag(".chip[data-position='3']", ".rung[data-rank='unacceptable']")
    assert page.text("#said") == "Response 3: unacceptable"
    page.leave(lambda: page.click("[data-submit]"))
    check_record(store)


def test_the_same_by_touch_on_a_phone(page: Chromium, store: Store):
    project = make_project(store, tasks=FOUR)
    page.resize(360, 740, scale=2, phone=True)
    page.open(page.site + "/")
    page.leave(lambda: page.tap(f"form[action$='{project}/claim'] button"))
    for i in range(4):
        page.tap(f"input[name=likert][value='{i + 2}']")
        page.leave(lambda: page.tap("[data-submit]"))
    page.js("document.getElementById('ladder').scrollIntoView({block: 'start'})")
    page.touch_drag(".chip[data-position='1']", ".rung[data-rank='2']")
    assert page.js("document.querySelector('[name=rank_1]:checked').value") == "2"
    page.tap("[name=rank_2][value='1']")
    page.tap("[name=rank_4][value='2']")
    page.tap("[name=rank_3][value='unacceptable']")
    page.leave(lambda: page.tap("[data-submit]"))
    check_record(store)


def test_the_same_with_scripts_off(page: Chromium, store: Store):
    project = make_project(store, tasks=FOUR)
    page.scripts(False)
    page.open(page.site + "/")

    # Without scripts there are no signs of our own on the page: clicks, and a look at the path.
    def click(selector: str, path: str) -> None:
        page.click(selector)
        page.wait(f"location.pathname.endsWith('{path}') && document.readyState === 'complete'")

    click(f"form[action$='{project}/claim'] button", "/rate/1")
    for i, path in enumerate(("/rate/2", "/rate/3", "/rate/4", "/rank")):
        page.click(f"input[name=likert][value='{i + 2}']")
        click("[data-submit]", path)
    assert page.js("document.getElementById('ladder').hidden")
    for position, rank in (("1", "2"), ("2", "1"), ("4", "2"), ("3", "unacceptable")):
        page.click(f"[name=rank_{position}][value='{rank}']")
    page.click("[name=action][value=submit]")
    page.wait("location.pathname === '/' && document.readyState === 'complete'")
    check_record(store)
    assert label_of(store)["seconds"] is None


def test_arrows_on_a_radio_are_the_browser_s_and_rank_too(page: Chromium, store: Store):
    make_project(store, tasks=FOUR)
    page.open(page.site + "/")
    page.tab_to("form[action$='/claim'] button")
    page.leave(lambda: page.press("Enter"))
    rate_by_keys(page)
    page.tab_to("[name=rank_2]")
    page.press("ArrowRight")
    page.press("ArrowRight")
    value = page.js("document.querySelector('[name=rank_2]:checked').value")
    assert (
        page.js(
            "document.querySelector('.chip[data-position=\"2\"]').closest('.rung').dataset.rank"
        )
        == value
    )


def test_a_draft_is_saved_by_itself_and_there_after_a_reload(page: Chromium, store: Store):
    project = make_project(store, "demonstration")
    page.open(page.site + "/")
    begin(page, project)
    page.click("#response")
    page.write("the beginning of an answer")
    assert page.text("#saved") == "Not saved yet"
    saved(store, lambda body: body["response"] == "the beginning of an answer")
    page.wait("document.getElementById('saved').dataset.kind === 'saved'")
    page.write(" and more")
    saved(store, lambda body: body["response"].endswith("and more"))
    page.open(page.site + page.path)
    assert page.js("document.getElementById('response').value").endswith("and more")


def test_a_change_waits_less_than_two_seconds(page: Chromium, store: Store):
    """Not a race with a clock: the page's own timer is looked at."""
    project = make_project(store, "demonstration")
    page.open(page.site + "/")
    added = page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="window.waits = []; const real = setTimeout; window.setTimeout = (work, wait) => "
        "{ waits.push(wait); return real(work, wait) }",
    )
    begin(page, project)
    page.click("#response")
    page.write("a")
    page.wait("waits.length > 0")
    page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])
    assert 0 < page.js("waits[0]") < 2000


def test_without_a_connection_answers_stay_in_the_browser(page: Chromium, store: Store):
    project = make_project(store, "demonstration")
    page.open(page.site + "/")
    begin(page, project)
    page.offline(True)
    page.click("#response")
    page.write("written in a tunnel")
    page.wait("document.getElementById('saved').dataset.kind === 'offline'")
    path = page.path
    page.offline(False)
    # The tab is closed before the server could be reached.
    page.open("about:blank")
    assert draft_of(store) is None
    page.open(page.site + path)
    assert page.js("document.getElementById('response').value") == "written in a tunnel"
    saved(store, lambda body: body["response"] == "written in a tunnel")
    page.complaints[:] = [c for c in page.complaints if "ERR_INTERNET_DISCONNECTED" not in c]


def test_a_stale_tab_is_told_and_offered_both(page: Chromium, store: Store):
    from datetime import UTC, datetime

    from preceptor.store.labels import save_draft

    project = make_project(store, "demonstration")
    page.open(page.site + "/")
    begin(page, project)
    with store.write() as session:
        held = session.scalars(select(Assignment)).one()
        save_draft(
            session,
            held.id,
            held.account_id,
            {"response": "by telephone"},
            version=0,
            now=datetime.now(UTC),
        )
    page.click("#response")
    page.write("at the desk")
    page.wait("document.querySelector('.work > .notice') !== null")
    assert "Another tab or device" in page.text(".work > .notice")
    page.leave(lambda: page.click(".work > .notice button"))
    assert "by telephone" in page.text()
    assert "at the desk" in page.text()
    page.leave(lambda: page.click("form[action$='/choose'] button"))
    assert page.js("document.getElementById('response').value") == "at the desk"
    # The answer 412 is what was wanted; the browser's console reports every such answer.
    page.complaints[:] = [c for c in page.complaints if "412" not in c and "409" not in c]


def test_a_double_click_is_one_label(page: Chromium, store: Store):
    project = make_project(store, "demonstration", {"p1": [], "p2": []})
    page.open(page.site + "/")
    begin(page, project)
    page.click("#response")
    page.write("once")
    page.leave(
        lambda: page.js(
            "for (let i = 0; i < 3; i++) document.querySelector('[data-submit]').click()"
        )
    )
    assert "/write" in page.path
    with store.read() as session:
        assert len(session.scalars(select(Submission)).all()) == 1
    assert page.js("Object.keys(localStorage).filter(key => key.includes('draft'))") == []


def test_signing_out_leaves_nothing_in_the_browser(page: Chromium, store: Store):
    project = make_project(store, "demonstration")
    page.open(page.site + "/")
    begin(page, project)
    page.offline(True)
    page.click("#response")
    page.write("private")
    page.wait("Object.keys(localStorage).some(key => key.includes('draft'))")
    page.offline(False)
    page.leave(lambda: page.click(".sign-out button"))
    assert page.path == "/login"
    assert page.js("Object.keys(localStorage).filter(key => key.includes('draft'))") == []
    page.complaints[:] = [c for c in page.complaints if "ERR_INTERNET_DISCONNECTED" not in c]


def test_single_keys_can_be_off(page: Chromium, store: Store):
    project = make_project(store, tasks=FOUR)
    page.open(page.site + "/profile")
    page.click("#keys-on")
    page.open(page.site + "/")
    begin(page, project)
    page.press("3")
    page.press("c")
    page.press("s")
    # Only "there is no constraint", as it was.
    assert page.js("document.querySelectorAll('input:checked').length") == 1
    page.click("input[name=likert][value='3']")
    page.leave(lambda: page.press("Enter", CTRL))
    assert page.path.endswith("/rate/2")


def test_keys_in_a_text_are_letters(page: Chromium, store: Store):
    project = make_project(store, "demonstration")
    page.open(page.site + "/")
    begin(page, project)
    page.click("#response")
    for key in "s1?=j":
        page.press(key)
    assert page.js("document.getElementById('response').value") == "s1?=j"
    page.leave(lambda: page.press("Enter", CTRL))
    assert page.path == "/"


def test_a_skip_by_keys(page: Chromium, store: Store):
    project = make_project(store, tasks=FOUR)
    page.open(page.site + "/")
    begin(page, project)
    page.press("5")
    page.leave(lambda: page.press("s"))
    assert page.path.endswith("/skip")
    page.press("2")
    page.leave(lambda: page.press("Enter", CTRL))
    with store.read() as session:
        held = session.scalars(select(Assignment)).one()
        assert (held.state, held.skip_reason) == ("skipped", "personal_data")


def accept_sensitive(store: Store) -> None:
    with store.write() as session:
        set_accepts_sensitive(session, account_named(session, "ann").id, True)


def test_sensitive_texts_are_blurred_until_asked_for(page: Chromium, store: Store):
    accept_sensitive(store)
    project = make_project(store, sensitive=True)
    page.open(page.site + "/")
    begin(page, project)
    blur = "getComputedStyle(document.querySelector('.text')).filter"
    assert "blur" in page.js(blur)
    page.click("#reveal")
    assert page.js(blur) == "none"


def test_two_are_compared_by_keys_alone(page: Chromium, store: Store):
    make_project(store, "evaluation_ab", {"which?": ["alpha", "beta"]}, purpose="eval")
    page.open(page.site + "/")
    page.tab_to("form[action$='/claim'] button")
    page.leave(lambda: page.press("Enter"))
    page.press("2")
    assert page.text("#said") == "Chosen: Response 2 is better"
    saved(store, lambda draft: draft["choice"] == "2")
    page.press("=")
    page.press("0")
    assert page.text("#said") == "Chosen: Both bad"
    page.leave(lambda: page.press("Enter", CTRL))
    assert label_of(store)["unacceptable"] == ["1", "2"]


def practice(store: Store) -> uuid.UUID:
    """Two to compare, twice, which a researcher has answered."""
    rita = add_member(store, "rita", role="researcher", group="researcher")
    project = make_project(
        store,
        "evaluation_ab",
        {"which?": ["one", "two"], "and which?": ["three", "four"]},
        purpose="practice",
        groups=("training", "researcher"),
        name="practice",
    )
    with store.write() as session:
        while held := claim(session, project, rita, now=datetime.now(UTC)):
            form = {"choice": "tie"}
            submit(session, held.id, rita, key=held.key, form=form, now=datetime.now(UTC))
            set_gold(session, held.id, rita, explanation="Both tell.", now=datetime.now(UTC))
    return project


def test_in_a_practice_the_answer_comes_after_the_submit_by_keys_alone(
    page: Chromium, store: Store
):
    project = practice(store)
    page.open(page.site + "/")
    begin(page, project)
    for _ in range(2):
        page.press("1")
        saved(store, lambda draft: draft["choice"] == "1")
        page.leave(lambda: page.press("Enter", CTRL))
        assert page.path.endswith("/feedback") and "Both tell." in page.text("main")
        assert page.js("Object.keys(localStorage).filter(k => k.includes('draft/'))") == []
        page.tab_to("main form[action$='/claim'] button")
        page.leave(lambda: page.press("Enter"))
    assert page.path == "/"


def test_toxicity_is_rated_and_ranked_by_keys_alone(page: Chromium, store: Store):
    accept_sensitive(store)
    make_project(store, "toxicity", {"He said": ["alpha", "beta"]}, purpose="eval")
    page.open(page.site + "/")
    page.tab_to("form[action$='/claim'] button")
    page.leave(lambda: page.press("Enter"))
    page.tab_to("#reveal")
    page.press("Space")
    focused = "document.activeElement.name"
    for key, heard, at in (
        ("1", "Toxicity of the prompt: Some", "toxicity"),
        ("2", "Toxicity of this response: Much", "relative_toxicity"),
        ("6", "Continuity: 6", "continuity"),  # none of the question in hand, so of the open one
        ("=", "Beside the prompt, this response is: as toxic", "relative_toxicity"),
    ):
        page.press(key)
        assert page.text("#said") == heard and page.js(focused) == at
    page.press("k")
    page.press("0")
    saved(store, lambda draft: draft["ratings"].get("1", {}).get("toxicity") == 0)
    page.leave(lambda: page.press("Enter", CTRL))
    for key in "2-1":  # what was said of the prompt is not asked again
        page.press(key)
    page.leave(lambda: page.press("Enter", CTRL))
    assert page.path.endswith("/rank")
    for key in ("j", "2", "j", "1", "0"):
        page.press(key)
    page.leave(lambda: page.press("Enter", CTRL))
    label = label_of(store)
    assert (label["groups"], label["unacceptable"]) == ([["2"], ["1"]], [])
    assert label["ratings"] == {
        "1": {"toxicity": 0, "relative_toxicity": 0, "continuity": 6},
        "2": {"toxicity": 2, "relative_toxicity": -1, "continuity": 1},
    }


def test_a_prompt_is_written_by_keys_alone_and_saves_itself(page: Chromium, store: Store):
    make_project(store, "prompt_few_shot")
    page.open(page.site + "/")
    page.tab_to("form[action$='/claim'] button")
    page.leave(lambda: page.press("Enter"))
    for name, text in (("instruction", "Opposites."), ("query_1", "hot"), ("response_1", "cold")):
        page.tab_to(f"[name={name}]")
        page.write(text)
    saved(store, lambda draft: draft["pairs"][0] == {"query": "hot", "response": "cold"})
    page.tab_to("[value=pair]")
    page.leave(lambda: page.press("Enter"))
    assert page.js("location.hash") == "#pair-3"
    for name, text in (("query_2", "up"), ("response_2", "down")):
        page.tab_to(f"[name={name}]")
        page.write(text)
    page.tab_to("input[name=use_case]")
    page.press("Space")
    page.press("ArrowRight")
    page.leave(lambda: page.press("Enter", CTRL))
    with store.read() as session:
        [prompt] = session.scalars(select(Prompt))
    assert (prompt.content, prompt.use_case) == ("Opposites.\n\nhot\ncold\n\nup", "open_qa")


ATTACKS = [
    "<script>document.title='attacked'</script>",
    "<img src=x onerror=\"document.title='attacked'\">",
    '"><svg onload="document.title=\'attacked\'">',
    "</textarea><script>document.title='attacked'</script>",
    "javascript:document.title='attacked'",
    "\u202egpj.exe",
]


def test_texts_of_others_stay_texts(page: Chromium, store: Store):
    tasks = {"\n".join(ATTACKS): ["\n".join(ATTACKS) + str(i) for i in range(3)]}
    project = make_project(store, tasks=tasks)
    page.open(page.site + "/")
    begin(page, project)
    rate_by_keys(page, 3)
    page.click("#comment")
    page.write("\n".join(ATTACKS))
    page.leave(lambda: page.click("[data-submit]"))
    assert "has no rank yet" in page.text(".notice") or "have no rank" in page.text(".notice")
    for path in (page.path, "/", "/recent"):
        page.open(page.site + path)
        assert "attacked" not in page.js("document.title")
        assert page.js("document.querySelectorAll('main script, main img, main svg').length") == 0
    assert "<script>" in page.text("main")
    page.complaints[:] = [c for c in page.complaints if "400" not in c]


def everything(store: Store) -> dict[str, Any]:
    """Projects of each kind, with a guideline and long, foreign and odd texts."""
    long = "A paragraph of some length, as models write them. " * 12
    tasks = {
        "Explain the moon landing to a child of six.\n\nKeep it to three sentences.": [
            "Some people went to the moon in a big rocket. They walked about and picked up stones. "
            "Then they came home and everybody was glad.",
            f"{long}\n\n{long}\n\n{long}",
            "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u0645 \u0641\u064a \u0627\u0644"
            "\u0642\u0645\u0631",
            "def moon():\n    return 'cheese'  # 🌝",
        ]
    }
    ranking = make_project(store, tasks=tasks, name="r")
    writing = make_project(store, "demonstration", {"Write a haiku about rain.": []}, name="w")
    with store.write() as session:
        now = datetime.now(UTC)
        publish_guideline(session, "ranking", "# Ranking\n\n* Be fair\n* Be kind", now=now)
        set_guideline(session, ranking, "ranking")
    few_shot = make_project(store, "prompt_few_shot", name="f")
    purpose = make_project(store, "prompt_user_based", {"Plan meals for a week": []}, name="u")
    two = make_project(
        store, "evaluation_ab", {"Which?": [long, "Short."]}, name="c", purpose="eval"
    )
    toxic = make_project(store, "toxicity", {"Then": [long, "it."]}, name="t", purpose="eval")
    found = {"ranking": ranking, "writing": writing, "two": two, "toxic": toxic}
    accept_sensitive(store)
    return found | {"few-shot": few_shot, "purpose": purpose, "practice": practice(store)}


def walk(page: Chromium, projects: dict[str, Any]) -> Iterator[str]:
    """Every page of a labeler, one after the other."""
    for path in (
        "/",
        "/recent",
        "/profile",
        f"/projects/{projects['ranking']}/guideline",
        "/nothing",
    ):
        page.open(page.site + path)
        yield path
    page.open(f"{page.site}/projects/{projects['ranking']}/guideline")
    page.leave(lambda: page.click("main form button"))
    yield "rate"
    rate_by_keys(page)
    yield "rank"
    page.press("j")
    page.press("1")
    page.press("j")
    page.press("1")
    page.press("j")
    page.press("0")
    yield "rank, half done"
    page.leave(lambda: page.click("[data-submit]"))
    yield "rank, refused"
    page.press("?")
    yield "keys"
    page.press("Escape")
    page.leave(lambda: page.click("[name=action][value=skip]"))
    yield "skip"
    page.open(page.site + "/")
    begin(page, projects["writing"])
    yield "write"
    page.click("#response")
    page.write("Rain on the window")
    page.leave(lambda: page.click("[data-submit]"))
    yield "done"
    page.open(page.site + "/")
    begin(page, projects["few-shot"])
    page.leave(lambda: page.click("[value=pair]"))
    yield "few-shot"
    page.open(page.site + "/")
    begin(page, projects["purpose"])
    page.leave(lambda: page.click("[data-submit]"))
    yield "purpose, refused"
    page.open(page.site + "/")
    begin(page, projects["two"])
    page.press("=")
    page.js("document.querySelector('.about').open = true")
    yield "two side by side"
    page.open(page.site + "/")
    begin(page, projects["toxic"])
    page.click("#reveal")
    page.leave(lambda: page.click("[data-submit]"))
    yield "toxicity, refused"
    for keys in ("02+7", "0-3"):
        for key in keys:
            page.press(key)
        page.leave(lambda: page.press("Enter", CTRL))
    yield "toxicity, ranked"
    page.open(page.site + "/")
    begin(page, projects["practice"])
    page.press("1")
    page.leave(lambda: page.press("Enter", CTRL))
    assert page.path.endswith("/feedback")
    yield "feedback"
    page.open(page.site + "/recent")
    yield "recent"


@pytest.mark.parametrize("width", [360, 640, 1280])
def test_nothing_is_wider_than_the_window(page: Chromium, store: Store, width: int):
    """640 px is a window of 1280 at 200 % zoom."""
    page.resize(width, 720)
    for name in walk(page, everything(store)):
        over = page.js(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert over <= 0, name
    page.complaints[:] = [c for c in page.complaints if "400" not in c and "404" not in c]


def test_what_can_be_pressed_is_large_enough(page: Chromium, store: Store):
    page.resize(360, 720, phone=True)
    for name in walk(page, everything(store)):
        small = page.js(
            "[...document.querySelectorAll('button, a.button, .pill, .flag, summary, select')]"
            ".filter(e => e.offsetParent && !e.closest('.unheard'))"
            ".map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])"
            ".filter(([, r]) => r.width && (r.height < 24 || r.width < 24)).map(([h]) => h)"
        )
        assert small == [], name
    page.complaints[:] = [c for c in page.complaints if "400" not in c and "404" not in c]


def test_axe_finds_nothing_serious(page: Chromium, store: Store):
    axe = pytest.importorskip("axe_core_python", reason="no axe: pip install axe-core-python")
    [script] = Path(axe.__file__).parent.rglob("axe.min.js")
    found = {}
    for dark in (False, True):
        page.dark(dark)
        for name in walk(page, everything(store)) if not dark else ("/", "/profile", "/recent"):
            if dark:
                page.open(page.site + name)
            page.js(script.read_text() + "; null")
            page.js(
                "window.axed = null; axe.run().then(found => { window.axed = "
                "found.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html)]) })"
            )
            page.wait("window.axed !== null")
            found[(name, dark)] = [
                v for v in page.js("window.axed") if v[0] in ("serious", "critical")
            ]
    assert not {name: f for name, f in found.items() if f}, json.dumps(
        {str(name): f for name, f in found.items() if f}, indent=1
    )
    page.complaints[:] = [c for c in page.complaints if "400" not in c and "404" not in c]


def test_a_screen_reader_hears_what_is_there(page: Chromium, store: Store):
    """Names and roles of what can be used, from the browser's own accessibility tree."""
    project = make_project(store, tasks=FOUR)
    page.open(page.site + "/")
    begin(page, project)
    rate_by_keys(page)
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    heard = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored")
    }
    assert {
        ("group", "Rank of response 1"),
        ("radio", "1 best"),
        ("radio", "4 worst"),
        ("radio", "Unacceptable"),
        ("heading", "Rank all 4"),
        ("heading", "Response 4"),
        ("heading", "Prompt"),
        ("article", "Response 2"),
        ("textbox", "Comment for the lead Optional."),
        ("button", "Submit, next task"),
        ("navigation", "Steps of this task"),
    } <= heard
    assert [role for role, name in heard if role in ("button", "radio", "link") and not name] == []
    assert page.js("document.querySelectorAll('h1').length") == 1


def test_the_page_tells_no_more_than_the_store_s_view(page: Chromium, store: Store):
    """What scripts can read on the page is what a labeler may know."""
    project = make_project(store, tasks=FOUR)
    page.open(page.site + "/")
    begin(page, project)
    with store.read() as session:
        held = session.scalars(select(Assignment)).one()
        seen = view(session, held.id, held.account_id)
    html = page.js("document.documentElement.outerHTML")
    assert seen.responses[0] in html
    for hidden in (*held.display_order, str(held.task_id), str(held.display_seed), "ppo"):
        assert f'"{hidden}"' not in html


@pytest.mark.parametrize("work", ["ranking", "evaluation_ab"])
def test_on_a_phone_the_top_line_is_one_line_and_nothing_lies_on_it(
    page: Chromium, store: Store, work: str
):
    project = make_project(store, work, FOUR if work == "ranking" else None)
    page.resize(390, 800, phone=True)
    page.open(page.site + "/")
    begin(page, project)
    page.tap(".pill input")
    page.wait("document.getElementById('saved').dataset.kind === 'saved'")
    for down in (0, 10**6):  # where the form ends the room below it is the pill's
        page.js(f"window.scrollTo(0, {down})")
        under = page.js(
            "(() => { const p = document.getElementById('saved').getBoundingClientRect();"
            "const pressed = document.querySelectorAll('.top a, .top button, .bar button');"
            "return [...pressed].filter(e => {"
            "const r = e.getBoundingClientRect(); return r.width && r.left < p.right &&"
            "p.left < r.right && r.top < p.bottom && p.top < r.bottom })"
            ".map(e => e.textContent.trim()) })()"
        )
        assert under == []
    assert (
        page.js(
            "new Set([...document.querySelectorAll('.top nav a, .sign-out button')]"
            ".map(e => { const r = e.getBoundingClientRect();"
            "return Math.round((r.top + r.bottom) / 4) })).size"
        )
        == 1
    )


def test_choosing_moves_nothing(page: Chromium, store: Store):
    project = make_project(store, tasks=FOUR)
    page.resize(390, 800, phone=True)
    page.open(page.site + "/")
    begin(page, project)
    rate_by_keys(page)
    sizes = (
        "[...document.querySelectorAll('.ranks .pill')].map(e => "
        "[e.offsetTop - e.parentElement.offsetTop, e.offsetWidth])"
    )
    before = page.js(sizes)
    page.tap("#card-1 .bad input")
    assert page.js("document.querySelector('#card-1 .bad input').checked")
    assert page.js(sizes) == before


def test_profile_folds_keep_what_is_ticked_without_scripts(page: Chromium, store: Store):
    """A closed fold still sends its boxes, and says what is ticked in it."""
    page.scripts(False)

    def save() -> None:
        page.click("form[action$='/competence'] > button")
        page.wait("document.readyState === 'complete' && location.search === '?saved=competence'")

    def kept() -> list[str]:
        with store.read() as session:
            account = account_named(session, "ann")
            return [*(account.topics or []), *(account.languages or [])]

    page.open(page.site + "/profile")
    assert page.js("document.querySelectorAll('.known-of[open]').length") == 0
    for box in ("topic_law", "topic_speech_age", "language_de"):
        fold = f".known-of:has([name={box}])"
        page.click(f"{fold} summary")
        page.wait(f"document.querySelector('{fold}').open")
        page.click(f"[name={box}]")
        page.click(f"{fold} summary")
        page.wait(f"!document.querySelector('{fold}').open")
    save()
    assert kept() == ["law", "speech_age", "de"]
    page.open(page.site + "/profile")
    save()  # with every fold closed, nothing touched
    assert kept() == ["law", "speech_age", "de"]
    assert [page.text(f".known-of:has([name={box}]) summary") for box in ("topic_law",)] == [
        "Subjects\nLaw"
    ]


def test_on_a_phone_buttons_end_where_the_form_does(page: Chromium, store: Store):
    """Submitting is as wide as the form, and what was submitted has its buttons on one line."""
    project = make_project(store, "evaluation_ab", {"a?": ["one", "two"], "b?": ["three", "four"]})
    page.resize(390, 800, phone=True)
    page.open(page.site + "/")
    begin(page, project)
    edges = (
        "['.bar .buttons', '.bar [data-submit]'].map(s => document.querySelector(s)"
        ".getBoundingClientRect()).map(r => [r.left, r.right])"
    )
    [whole, submit_button] = page.js(edges)
    assert whole == submit_button
    pills = "[...document.querySelectorAll('.choice .pill')].map(e => [e.offsetTop, e.offsetWidth])"
    (top, width), second, third, fourth = page.js(pills)
    assert second == [top, width] and third == fourth and third[1] == width
    page.tap(".choice input")
    page.leave(lambda: page.tap("[data-submit]"))
    tops = "[...document.querySelectorAll('.after button')].map(e => e.getBoundingClientRect().top)"
    assert page.js(f"{tops}.length") == 2 and page.js(f"new Set({tops}).size") == 1


NINE = {"which is best?": [f"response {letter}" for letter in "abcdefghi"]}


def test_what_is_said_of_saving_moves_nothing(page: Chromium, store: Store):
    """The line of buttons is as high whether something, or nothing, stands beside them."""
    projects = [make_project(store, tasks=FOUR), practice(store)]
    bars = "[...document.querySelectorAll('.bar, .bar button')].map(e => e.getBoundingClientRect())"
    places = f"{bars}.map(r => [r.height, r.x])"
    for width in (1280, 1000, 700):
        page.resize(width, 800)
        for project in projects:
            page.open(page.site + "/")
            begin(page, project)
            while "/rate/" in page.path:
                page.press("3")
                page.leave(lambda: page.press("Enter", CTRL))
            before = page.js(places)
            page.click(".pill input")
            assert page.text("#saved") == "Not saved yet" and page.js(places) == before
            page.wait("document.getElementById('saved').dataset.kind === 'saved'")
            assert page.js(places) == before
            page.click(".pill:nth-child(2) input")  # to be saved anew at the next width
            page.wait("document.getElementById('saved').dataset.kind === 'saved'")


@pytest.mark.parametrize("width", [390, 1280])
def test_what_is_missing_is_marked_and_stays_where_it_was(page: Chromium, store: Store, width: int):
    accept_sensitive(store)
    projects = [
        make_project(store, tasks=FOUR),
        make_project(store, "evaluation_ab", name="c"),
        make_project(store, "toxicity", purpose="eval", name="t"),
    ]
    page.resize(width, 800, phone=width < 640)
    pills = "[...document.querySelectorAll('fieldset:has([type=radio]) .pill')]"
    places = f"{pills}.map(e => [e.getBoundingClientRect().x, e.offsetWidth, e.offsetHeight])"
    marked = (
        "[...document.querySelectorAll('[aria-invalid]')].map(e => e.getBoundingClientRect().x)"
    )
    for project in projects:
        page.open(page.site + "/")
        begin(page, project)
        before = page.js(places)
        page.leave(lambda: page.click("[data-submit]"))
        assert page.js(places) == before
        assert page.js(marked) and min(page.js(marked)) >= 0
    page.complaints[:] = [c for c in page.complaints if "400" not in c]


MARKED = "document.querySelectorAll('#work [aria-invalid]').length"
TOLD = "document.querySelectorAll('.notice.wrong').length"


def refused(page: Chromium, project: uuid.UUID, marks: int) -> None:
    """Open a task, send nothing: it is told what is missing, and marked."""
    page.open(page.site + "/")
    begin(page, project)
    page.leave(lambda: page.click("[data-submit]"))
    assert (page.js(MARKED), page.js(TOLD)) == (marks, 1)


def test_marks_of_what_is_missing_go_once_it_is_there(page: Chromium, store: Store):
    """By pointer and by keys; the message goes with the last of them."""
    accept_sensitive(store)
    refused(page, make_project(store, tasks=FOUR), 1)
    page.press("a")  # a flag is no quality
    assert (page.js(MARKED), page.js(TOLD)) == (1, 1)
    page.click("input[name=likert][value='4']")
    assert (page.js(MARKED), page.js(TOLD)) == (0, 0)
    page.press("4")
    page.leave(lambda: page.press("Enter", CTRL))
    rate_all(page, 3)
    page.press("1")
    page.leave(lambda: page.press("Enter", CTRL))
    assert (page.js(MARKED), page.js(TOLD)) == (3, 1)
    for place, left in ((2, 2), (3, 1), (4, 0)):
        page.click(f"input[name=rank_{place}][value='1']")
        assert (page.js(MARKED), page.js(TOLD)) == (left, min(left, 1))
    refused(page, make_project(store, "evaluation_ab", name="c"), 1)
    page.press("=")
    assert (page.js(MARKED), page.js(TOLD)) == (0, 0)
    refused(page, make_project(store, "toxicity", purpose="eval", name="t"), 4)
    for key, left in (("0", 3), ("2", 2), ("+", 1), ("7", 0)):
        page.press(key)
        assert (page.js(MARKED), page.js(TOLD)) == (left, min(left, 1))
    page.complaints[:] = [c for c in page.complaints if "400" not in c]


def test_marks_of_a_text_that_is_missing_go_with_its_first_letter(page: Chromium, store: Store):
    refused(page, make_project(store, "demonstration"), 1)
    page.click("#response")
    page.write("A")
    assert (page.js(MARKED), page.js(TOLD)) == (0, 0)
    refused(page, make_project(store, "prompt_plain", name="p"), 2)
    page.click("#prompt")
    page.write("A")
    assert (page.js(MARKED), page.js(TOLD)) == (1, 1)
    page.click(".use-cases input")
    assert (page.js(MARKED), page.js(TOLD)) == (0, 0)
    # Two pairs are the least; one that is begun is to be ended.
    refused(page, make_project(store, "prompt_few_shot", name="f"), 6)
    for field in ("#instruction", "#query-1", "#response-1", "#query-2"):
        page.click(field)
        page.write("A")
    page.click(".use-cases input")
    assert (page.js(MARKED), page.js(TOLD)) == (1, 1)
    page.leave(lambda: page.click("[data-submit]"))
    assert (page.js(MARKED), page.js(TOLD)) == (1, 1)
    page.click("#response-2")
    page.write("A")
    assert (page.js(MARKED), page.js(TOLD)) == (0, 0)
    # What is told and marks nothing stays until it is sent again.
    page.click("#instruction")
    page.write(" of jo@acme.com")
    page.leave(lambda: page.click("[data-submit]"))
    page.click("#response-2")
    page.write("B")
    assert (page.js(MARKED), page.js(TOLD)) == (0, 1)
    page.complaints[:] = [c for c in page.complaints if "400" not in c]


def test_on_a_phone_answers_of_one_question_stand_on_one_line(page: Chromium, store: Store):
    accept_sensitive(store)
    nine = make_project(store, tasks=NINE)
    toxic = make_project(store, "toxicity", purpose="eval", name="t")
    page.resize(390, 800, phone=True)

    def lines(selector: str) -> Any:
        return page.js(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(all => "
            "new Set([...all.querySelectorAll('.pill:not(.bad), .step')].map("
            "e => e.getBoundingClientRect().top)).size)"
        )

    page.open(page.site + "/")
    begin(page, toxic)
    assert lines(".question") == [1, 1, 1, 1]
    page.open(page.site + "/")
    begin(page, nine)
    rate_all(page, 9)
    assert lines(".ranks, .steps") == [1] * 10
    small = "[...document.querySelectorAll('.pill, .step')].filter(e => e.offsetWidth < 24).length"
    assert page.js(small) == 0
    page.resize(1280, 900)
    chips = "new Set([...document.querySelectorAll('.rung.open .chip')].map(e => e.offsetTop)).size"
    assert page.js(chips) == 1


def test_a_step_that_is_done_is_told_without_its_color(page: Chromium, store: Store):
    project = make_project(store, tasks=FOUR)
    page.open(page.site + "/")
    begin(page, project)
    page.press("4")
    page.leave(lambda: page.press("Enter", CTRL))
    border = "e => getComputedStyle(e).borderTopWidth"
    steps = f"[...document.querySelectorAll('.step:not([aria-current])')].map({border})"
    assert page.js(steps) == ["2px", "1px", "1px", "1px"]


def test_an_opened_guideline_takes_no_line_of_the_prompt(page: Chromium, store: Store):
    project = make_project(store, tasks=FOUR)
    with store.write() as session:
        text = "# Ranking\n\n" + "Be fair, and be kind.\n\n" * 60
        publish_guideline(session, "ranking", text, now=datetime.now(UTC))
        set_guideline(session, project, "ranking")
    page.open(f"{page.site}/projects/{project}/guideline")
    page.leave(lambda: page.click("main form button"))
    page.click(".guideline summary")
    page.wait("document.querySelector('.guideline').open")
    cut = "(s => (e => e.scrollHeight - e.clientHeight)(document.querySelector(s)))"
    assert page.js(f"{cut}('.prompt')") <= 0 < page.js(f"{cut}('.guideline')")
    assert page.js(f"{cut}('.sticky')") <= 0


def test_what_may_disturb_stays_shown_on_all_pages_of_a_task_and_on_no_other(
    page: Chromium, store: Store
):
    accept_sensitive(store)
    tasks = {"first": ["one", "two"], "second": ["three", "four"], "third": ["five", "six"]}
    make_project(store, tasks=tasks, sensitive=True)
    page.open(page.site + "/")
    page.leave(lambda: page.click("form[action$='/claim'] button"))
    blur = "getComputedStyle(document.querySelector('.text')).filter !== 'none'"
    assert page.js(blur)
    page.click("#reveal")
    rate_all(page, 2)
    assert not page.js(blur)
    for key in "j1j1":
        page.press(key)
    page.leave(lambda: page.press("Enter", CTRL))
    assert "/rate/1" in page.path and page.js(blur)
    # Sent unseen, it is asked about once; by then the box is enough.
    rate_all(page, 2)
    for key in "j1j1":
        page.press(key)
    page.leave(lambda: page.press("Enter", CTRL))
    assert "blurred when you sent this" in page.text(".notice[role=alert]") and page.js(blur)
    page.click("#reveal")
    assert not page.js(blur)
    page.leave(lambda: page.press("Enter", CTRL))
    assert "/rate/1" in page.path and page.js(blur) and "Submitted" in page.text()
    page.complaints[:] = [c for c in page.complaints if "400" not in c]
    page.click("#reveal")
    page.leave(lambda: page.click(".sign-out button"))
    assert page.js("Object.keys(localStorage).filter(key => key.includes('shown'))") == []


def test_too_long_a_draft_is_said_and_the_next_one_saved(page: Chromium, store: Store):
    project = make_project(store, "demonstration")
    page.open(page.site + "/")
    begin(page, project)
    page.js("document.getElementById('response').value = 'x'.repeat(1_100_000)")
    page.click("#response")
    page.write("!")
    page.wait("document.getElementById('saved').dataset.kind === 'wrong'")
    assert page.text("#saved").startswith("Not saved: That is more than 1,000,000 bytes.")
    page.js("document.getElementById('response').value = 'short'")
    page.write("!")
    saved(store, lambda body: body["response"].startswith("short"))
    page.complaints[:] = [c for c in page.complaints if "413" not in c]


def test_who_comes_to_sign_in_can_write_at_once(page: Chromium, site: str):
    page.leave(lambda: page.click(".sign-out button"))
    page.write("ann")
    page.press("Tab")
    page.write("wrong")
    page.leave(lambda: page.press("Enter"))
    page.write(PASSWORD)
    page.leave(lambda: page.press("Enter"))
    assert page.path == "/"
    page.complaints[:] = [c for c in page.complaints if "401" not in c]


WORDS = ("Does it say where it has that from, so that it can be looked up? " * 4)[:200].strip()
WORD = "Wherefromhasitthat" * 11
LONG_FORM = {
    "quality": {"text": WORDS, "low": WORDS, "high": WORD},
    "flags_text": WORD,
    "flags": [
        {"name": "words", "text": WORDS},
        {"name": "word", "text": WORD},
        {"name": "third", "text": WORD, "none": WORD},
        *({"name": f"flag{i}", "text": f"Flag {i}"} for i in range(19)),
    ],
    "prompt_labels": [{"name": "words", "text": WORDS}, {"name": "word", "text": WORD}],
}


@pytest.mark.parametrize("width", [390, 1280])
def test_long_words_of_a_form_stay_in_their_place(page: Chromium, store: Store, width: int):
    form = read_questions(json.dumps(LONG_FORM), "long")
    projects = [
        make_project(store, tasks={"q": ["a", "b"]}, form=form),
        make_project(store, "evaluation_ab", name="c", form=form),
        make_project(store, "demonstration", name="w", form=form),
    ]
    page.resize(width, 800, phone=width < 640)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    outside = (
        "[...document.querySelectorAll('fieldset *, details *')].filter(e => e.offsetWidth && "
        "!e.closest('.unheard') && e.getBoundingClientRect().right > 1 + "
        "e.closest('fieldset, details').getBoundingClientRect().right).map(e => e.outerHTML)"
    )
    narrow = "[...document.querySelectorAll('.row > span')].filter(e => e.offsetWidth < 120).length"
    for project in projects:
        page.open(page.site + "/")
        begin(page, project)
        while True:
            page.js("document.querySelectorAll('.about').forEach(e => { e.open = true })")
            assert page.js(wide) <= 0 and page.js(outside) == [], page.path
            assert page.js(narrow) == 0, page.path
            if "/rate/" not in page.path:
                break
            page.press("4")
            page.leave(lambda: page.press("Enter", CTRL))


def test_keys_are_shown_where_there_are_keys(page: Chromium, store: Store):
    project = make_project(store, "evaluation_ab")
    page.open(page.site + "/")
    begin(page, project)
    shown = "[...document.querySelectorAll('.choice kbd')].filter(e => e.offsetWidth).length"
    lines = (
        "new Set([...document.querySelectorAll('.confidence .pill')].slice(0, 9)"
        ".map(e => e.offsetTop)).size"
    )
    assert page.js(shown) == 4
    page.resize(390, 800, phone=True)
    assert page.js(shown) == 0
    assert page.js(lines) == 1
    page.resize(1280, 900)
    page.scripts(False)
    page.open(page.site + page.path)
    assert page.js(shown) == 0
