"""The lead's pages in a real browser: hostile words, no scripts, a small screen, axe."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from browsers import PASSWORD, add_member
from chromium import Chromium, find_program
from crew import add_member_of, add_rejected, add_tasks_of, honest, ranking_store
from fastapi.routing import iter_route_contexts
from people import START, add_prompt
from sqlalchemy import select, update

from preceptor.labeling.app import create_app
from preceptor.labeling.settings import Settings
from preceptor.store.accounts import invite, publish_guideline
from preceptor.store.database import Store
from preceptor.store.labels import submit
from preceptor.store.names import identify
from preceptor.store.projects import Candidate, ProjectOptions, add_tasks, create_project
from preceptor.store.queue import claim
from preceptor.store.tables import Account, Guideline, Prompt, Task

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_program() is None, reason="no chromium: apt-get install chromium"),
]
PAGES = (
    "",
    "/queue",
    "/agreement",
    "/labelers",
    "/positions",
    "/disagreements",
    "/comments",
    "/gold",
    "/prompts",
    "/projects",
    "/screening",
    "/guidelines",
    "/exports",
    "/accounts",
    "/access",
    "/erase",
)
ATTACKS = (
    "<script>document.title = 'taken'</script>",
    '"><img src=x onerror="document.title = \'taken\'">',
    "'><svg onload=\"document.title = 'taken'\">",
    "</textarea></title></text></svg><script>document.title = 'taken'</script>",
    "{{ 7 * 7 }} \u202egnp.exe",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Chromium, store: Store, tmp_path: Path) -> Iterator[Chromium]:
    """An admin, signed in; at the end no script and no rule of the page has complained."""
    settings = Settings(now=lambda: START + timedelta(days=90), exports=tmp_path / "exports")
    server = uvicorn.Server(
        uvicorn.Config(create_app(store, settings), port=0, log_level="warning", access_log=False)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    site = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    add_member(store, "boss", role="admin", group="researcher")
    chromium.call("Network.clearBrowserCookies")
    chromium.scripts(True)
    chromium.dark(False)
    chromium.resize(1280, 900)
    chromium.open(site + "/login")
    chromium.click("input[name=login]")
    chromium.write("boss")
    chromium.press("Tab")
    chromium.write(PASSWORD)
    chromium.leave(lambda: chromium.press("Enter"))
    chromium.site = site  # type: ignore[attr-defined]
    chromium.complaints.clear()
    yield chromium
    assert chromium.complaints == []
    server.should_exit = True
    thread.join()


def add_hostile_work(store: Store) -> list[str]:
    """Every text that a page shows is an attack; the paths of pages that are about one thing."""
    attack = " ".join(ATTACKS)
    with store.write() as session:
        options = ProjectOptions(overlap=2, calibration_fraction=0.0)
        project = create_project(session, f"project {attack}", "ranking", options, now=START)
        prompt = add_prompt(session, f"prompt {attack}")
        session.get_one(Prompt, prompt).use_case = f"use {attack}"
        texts = [Candidate(f"first {attack}"), Candidate(f"second {attack}")]
        add_tasks(session, project, {prompt: texts})
        add_rejected(session, 1)
        left = session.scalars(select(Prompt).where(Prompt.status == "rejected")).one()
        left.reason = f"reason {attack}"
        id = identify("guideline", f"guideline {attack}", 1)  # of before names had a rule
        values = {"name": f"guideline {attack}", "version": 1, "markdown": f"# {attack}"}
        session.add(Guideline(id=id, **values, sha256="", imported=False, at=START))
        for i, name in enumerate((f"ann {attack}", "bob")):
            who = add_member_of(session, store, name)
            view = claim(session, project, who, now=START)
            assert view is not None
            best = "1" if view.responses[0].startswith(("first", "second")[i]) else "2"
            form = {
                "ratings": {p: {"likert": 2 + 3 * i, "flags": {}} for p in "12"},
                "rank_groups": [[best], ["2" if best == "1" else "1"]],
                "comment": f"comment {attack}",
            }
            submit(session, view.id, who, key=view.key, form=form, now=START)
        task = session.scalars(select(Task.id)).one()
        guideline = session.scalars(select(Guideline.id)).one()
    return [f"/tasks/{task}", f"/guidelines/{guideline}"]


def test_hostile_words_stay_words(page: Chromium, store: Store):
    paths = [*PAGES, *add_hostile_work(store)]
    for path in paths:
        page.open(f"{page.site}/lead{path}")  # type: ignore[attr-defined]
        assert "taken" not in page.js("document.title"), path
        strange = "document.querySelectorAll('main script, main img, main iframe').length"
        assert page.js(strange) == 0, path
        assert page.js("document.querySelectorAll('[onload], [onerror], [style]').length") == 0
    page.open(f"{page.site}{'/lead' + paths[-2]}")  # type: ignore[attr-defined]
    words = page.text("main")
    assert all(attack.replace("\u202e", "U+202E") in words for attack in ATTACKS)


def test_charts_are_drawn_in_the_page_s_colors(page: Chromium, store: Store):
    """The rules of the page let no style in: what a chart looks like comes from its classes."""
    crew = {name: (honest(0.5), {}) for name in ("ann", "bob", "cyd")}
    ranking_store(store, crew, num_tasks=12, num_calibration=4)
    for dark in (False, True):
        page.dark(dark)
        page.open(f"{page.site}/lead/agreement")  # type: ignore[attr-defined]
        point = "getComputedStyle(document.querySelector('.chart .point'))"
        colors = page.js(f"[{point}.fill, getComputedStyle(document.body).backgroundColor]")
        assert colors[0] not in ("rgb(0, 0, 0)", "none") and colors[0] != colors[1]
        assert page.js("document.querySelectorAll('.chart').length") >= 3
        drawn = page.js(
            "[...document.querySelectorAll('.chart')].filter(c => c.checkVisibility())"
            ".map(c => c.getBoundingClientRect().height)"
        )
        assert len(drawn) >= 3
        assert min(drawn) > 40


def test_all_of_it_works_without_scripts(page: Chromium, store: Store):
    crew = {name: (honest(0.5), {}) for name in ("ann", "bob")}
    ranking_store(store, crew, num_tasks=6, num_calibration=0)
    page.scripts(False)
    site = page.site  # type: ignore[attr-defined]
    page.open(site + "/lead/guidelines")
    page.click("input[name=name]")
    page.write("ranking")
    page.click("textarea[name=markdown]")
    page.write("Be helpful.")
    page.click(".stack button.primary")
    page.wait("document.readyState === 'complete' && location.search === '?said=published'")
    assert "ranking@1" in page.text("main")
    page.open(site + "/lead/exports")
    page.click(".fields button.primary")
    page.wait("document.querySelector('.notice.good') !== null")
    assert "rows in" in page.text(".notice.good") and ".jsonl" in page.text(".notice.good")
    page.open(site + "/lead/projects")
    page.click(".inline button[value=paused]")
    page.wait("document.readyState === 'complete' && location.search === '?said=state'")
    assert "paused" in page.text("table")


def everything(store: Store) -> list[str]:
    """Work that fills every page; the paths of all pages, those about one thing among them."""
    crew = {name: (honest(0.5), {}) for name in ("ann", "bob", "cyd")}
    project, people = ranking_store(store, crew, num_tasks=12, num_calibration=4)
    now = START + timedelta(days=90)
    with store.write() as session:
        add_tasks_of(session, project, 1, name="q")
        assert claim(session, project, people["ann"], now=now) is not None
        options = ProjectOptions(purpose="screening")
        screening = create_project(session, "s", "demonstration", options, now=START)
        add_tasks(session, screening, {add_prompt(session, "Write a haiku about rain."): []})
        dee = add_member_of(session, store, "dee.of.a-long-name@example.org")
        session.get_one(Account, dee).state = "screening"
        view = claim(session, screening, dee, now=START)
        assert view is not None
        submit(session, view.id, dee, key=view.key, form={"response": "Rain."}, now=START)
        invite(session, store.site_key, "newcomer@example.org", now=START)
        publish_guideline(session, "ranking", "# Ranking\n\nBe fair.", now=START)
        guideline = session.scalars(select(Guideline.id)).one()
        task = session.scalars(select(Task.id)).first()
    return [*PAGES, f"/tasks/{task}", f"/guidelines/{guideline}", f"/screening/{dee}"]


def test_pages_fit_a_small_screen(page: Chromium, store: Store):
    """Empty and filled, none is wider than a phone: what is wide scrolls in its own box."""
    page.resize(390, 800, phone=True)
    outside = (
        "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > "
        "391 && !e.parentElement.closest('.scroll, figure, pre'))"
        ".map(e => e.outerHTML.slice(0, 90))"
    )
    for path in (*PAGES, *everything(store)):
        page.open(f"{page.site}/lead{path}")  # type: ignore[attr-defined]
        assert page.js("document.documentElement.scrollWidth") <= 390, (path, page.js(outside))


def test_a_choice_stands_beside_its_name(page: Chromium, store: Store):
    """Where there is room for both, on one line; never alone on the next one."""
    everything(store)
    apart = (
        "[...document.querySelectorAll('.chooser select')].map(s => { const l = "
        "s.labels[0].getBoundingClientRect(), r = s.getBoundingClientRect(); "
        "return [l.bottom > r.top && l.top < r.bottom, l.right <= r.left]; })"
    )
    for width in (390, 1280):
        page.resize(width, 800, phone=width == 390)
        for path, count in (("/comments", 3), ("/gold", 1)):
            page.open(f"{page.site}/lead{path}")  # type: ignore[attr-defined]
            assert page.js(apart) == [[True, True]] * count, (width, path)


def test_every_page_without_a_parameter_is_in_the_list(store: Store):
    routes = iter_route_contexts(create_app(store).routes)
    found = {
        route.path.removeprefix("/lead")
        for route in routes
        if (route.path or "").startswith("/lead") and "GET" in (route.methods or ())
    }
    # The form is plain text.
    assert {path for path in found if "{" not in path} == {*PAGES, "/form"}


def test_what_scrolls_sideways_is_reached_by_keys_and_has_a_name(page: Chromium, store: Store):
    everything(store)
    boxes = (
        "[...document.querySelectorAll('.scroll, figure, .sample')].filter(e => e.clientWidth)"
        ".map(e => [e.scrollWidth > e.clientWidth, e.tabIndex === 0, e.ariaLabel ?? '', "
        "e.localName === 'figure' || e.role === 'group'])"
    )
    page.resize(390, 800, phone=True)
    page.open(f"{page.site}/lead/labelers")  # type: ignore[attr-defined]
    page.wait("document.querySelectorAll('[aria-label=Attention]').length === 1")
    assert page.js(boxes) == [
        [False, False, "", True],  # a chart is drawn for the screen
        [True, True, "Agreement with the others", True],
        [True, True, "Attention", True],
    ]
    page.resize(1280, 900)  # all of it fits, so Tab passes it by
    page.wait("document.querySelectorAll('.lead-content [tabindex]').length === 0")
    assert [[scrolls, stops] for scrolls, stops, *_ in page.js(boxes)] == [[False, False]] * 3


@pytest.mark.parametrize("width", [390, 1280])
def test_a_chart_s_names_and_numbers_are_in_view_and_large_enough(
    page: Chromium, store: Store, width: int
):
    """Without moving it sideways; only the table of squares is wider than a small screen."""
    everything(store)
    with store.write() as session:  # as prompts of files come that say nothing of it
        session.execute(update(Prompt).where(Prompt.use_case == "open_qa").values(use_case=""))
    page.resize(width, 800, phone=width == 390)
    shown = "[...document.querySelectorAll('figure svg.chart')].filter(c => c.checkVisibility())"
    words = (
        f"{shown}.filter(c => !c.querySelector('.cell')).flatMap(c => "
        "[...c.querySelectorAll('text')].map(t => { const r = t.getBoundingClientRect(), "
        "f = c.parentElement.getBoundingClientRect(); return [t.textContent, r.left - f.left, "
        "f.right - r.right, r.height]; }))"
    )
    for path in ("", "/agreement", "/labelers", "/positions", "/prompts"):
        page.open(f"{page.site}/lead{path}")  # type: ignore[attr-defined]
        figures = page.js("document.querySelectorAll('figure').length")
        assert figures == page.js(f"{shown}.length") > 0, path
        found = page.js(words)
        outside = [words for words in found if min(words[1:3]) < -0.5]
        assert found and not outside, path
        assert min(height for *_, height in found) > 13, path
        if path == "/prompts":
            texts = [text for text, *_ in found]
            assert texts == ["chat", "5", "generation", "5", "none", "4"]


def test_on_a_small_screen_the_lead_s_pages_are_one_line_that_opens(page: Chromium, store: Store):
    """By keys and without scripts; where there is room they are a column, and no menu."""
    links = "[...document.querySelectorAll('main nav a')].filter(e => e.checkVisibility())"
    page.open(f"{page.site}/lead/prompts")  # type: ignore[attr-defined]
    count = page.js(f"{links}.length")
    assert count == len(PAGES) and not page.js("document.querySelector('.menu').checkVisibility()")
    page.resize(390, 800, phone=True)
    page.scripts(False)
    page.open(f"{page.site}/lead/prompts")  # type: ignore[attr-defined]
    assert page.js(f"{links}.length") == 0
    assert page.js("document.querySelector('h1').getBoundingClientRect().top") < 160
    page.tab_to(".menu summary")
    page.press("Enter")
    page.wait(f"{links}.length === {count}")
    assert page.js(f"{links}.filter(e => e.ariaCurrent === 'page').map(e => e.textContent)") == [
        "Prompts"
    ]
    assert page.js(f"Math.min(...{links}.map(e => e.offsetHeight))") >= 24
    page.tab_to(".menu a[href='/lead/queue']")
    page.press("Enter")
    page.wait("location.pathname === '/lead/queue' && document.readyState === 'complete'")
    assert page.js(f"{links}.length") == 0, "it is closed again"


def test_what_is_wrong_with_a_form_stands_at_it_line_by_line(page: Chromium, store: Store):
    page.open(f"{page.site}/lead/projects")  # type: ignore[attr-defined]
    for field, text in (("name", "own"), ("num_tasks", "1"), ("overlap", "1")):
        page.js(f"document.querySelector('[name={field}]').value = '{text}'")
    page.click("details:has([name=form]) summary")
    tops = (
        "['summary', 'label', 'textarea'].map(s => document.querySelector("
        "`details:has([name=form]) ${s}`).getBoundingClientRect()).map(r => [r.left, r.bottom])"
    )
    (left, first), (_, second), (field_left, third) = page.js(tops)
    assert first < second < third and left == field_left
    page.click("[name=form]")
    page.write("use_case: perhaps\nflags: 3\nwhatever: 1")
    page.leave(lambda: page.click("[action$='/projects'] button.primary"))
    assert page.text(".notice.lines").splitlines()[-1].startswith("`preceptor label form`")
    assert len(page.text(".notice.lines").splitlines()) == 4
    assert page.js("document.activeElement.matches('.notice.wrong')")
    place = "document.querySelector('.notice.lines').getBoundingClientRect()"
    assert page.js(f"{place}.top >= 0 && {place}.bottom <= innerHeight")
    assert page.js("document.querySelector('[name=form]').checkVisibility()")
    page.complaints[:] = [c for c in page.complaints if "400" not in c]


def test_what_a_file_would_add_is_in_view_and_its_buttons_stand_together(
    page: Chromium, store: Store, tmp_path: Path
):
    everything(store)
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps({"prompt": "What is 2 + 2?", "responses": ["4.", "Five."]}))
    page.open(f"{page.site}/lead/projects")  # type: ignore[attr-defined]
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    form = '[action="/lead/tasks"]'
    found = page.call("DOM.querySelector", nodeId=root, selector=f"{form} [type=file]")
    page.call("DOM.setFileInputFiles", files=[str(file)], nodeId=found["nodeId"])
    for field in ("licence", "consent"):
        page.js(f"document.querySelector('{form} [name={field}]').value = 'ours'")
    edges = (
        f"[...document.querySelectorAll('{form} button')]"
        ".map(e => [e.offsetLeft, e.offsetTop, e.offsetWidth])"
    )
    (left, top, width), (next_left, next_top, _) = page.js(edges)
    assert top == next_top and 0 < next_left - left - width < 16
    page.leave(lambda: page.click(f"{form} [value=look]"))
    assert page.js("document.activeElement.matches('section[aria-labelledby=looked]')")
    place = "document.getElementById('looked').getBoundingClientRect()"
    assert page.js(f"{place}.top > 0 && {place}.bottom < innerHeight")


def test_what_can_be_done_with_an_account_stands_on_one_line(page: Chromium, store: Store):
    everything(store)
    page.open(f"{page.site}/lead/accounts")  # type: ignore[attr-defined]
    lines = page.js(
        "[...document.querySelectorAll('.accounts td .inline')].map(cell => "
        "[...cell.querySelectorAll('button')].map(b => b.getBoundingClientRect()))"
        ".map(all => [all.length, new Set(all.map(r => r.top)).size, "
        "Math.max(...all.map(r => r.right))])"
    )
    assert max(num for num, *_ in lines) == 4
    assert [line for line in lines if line[1] != 1 or line[2] > 1280] == []
    assert page.js("(e => e.scrollWidth - e.clientWidth)(document.querySelector('.scroll'))") == 0


def test_one_figure_alone_is_no_wider_than_among_others(page: Chromium, store: Store):
    everything(store)
    widths = "[...document.querySelectorAll('.figures > div')].map(e => e.offsetWidth)"
    page.open(f"{page.site}/lead/prompts")  # type: ignore[attr-defined]
    [alone] = page.js(widths)
    assert alone <= 256


def test_axe_finds_nothing_serious(page: Chromium, store: Store):
    axe: Any = pytest.importorskip("axe_core_python", reason="no axe: pip install axe-core-python")
    [script] = Path(axe.__file__).parent.rglob("axe.min.js")
    paths = everything(store)
    for dark, width in ((False, 1280), (True, 1280), (False, 390)):
        page.dark(dark)
        page.resize(width, 900, phone=width < 640)
        for path in paths:
            page.open(f"{page.site}/lead{path}")  # type: ignore[attr-defined]
            page.js(script.read_text(encoding="utf-8"))
            page.js(
                "window.axed = null; axe.run().then(found => { window.axed = "
                "found.violations.map(v => [v.impact, v.id, v.nodes[0].html]) })"
            )
            page.wait("window.axed !== null")
            serious = [v for v in page.js("window.axed") if v[0] in ("serious", "critical")]
            assert not serious, (path, dark, width, json.dumps(serious))
