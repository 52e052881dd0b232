"""The room itself: where markup may come from, what scripts and templates never do, its words."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

import preceptor.labeling as room
from preceptor.labeling import words
from preceptor.labeling.filling import (
    as_form,
    labels_in,
    positions_of,
    ranks_in,
    rating_in,
    text_in,
    unrated,
    with_ranking,
    with_rating,
    with_writing,
)
from preceptor.labeling.showing import HIDDEN, JOINERS, markdown, shown
from preceptor.store.forms import (
    COMPARISONS,
    SKIP_REASONS,
    USE_CASES,
    check_form,
)
from preceptor.store.questions import MOST_FLAGS, PAPER

ROOM = Path(room.__file__).parent
PYTHON = sorted(ROOM.glob("*.py"))
TEMPLATES = sorted(ROOM.glob("templates/*.html"))
# The lead's: figures and their tables, whose words stand in the template itself.
LEAD = sorted(ROOM.glob("templates/lead/*.html"))
SCRIPTS = sorted(ROOM.glob("static/*.js"))


def test_only_one_file_makes_markup_of_texts_and_one_of_charts():
    found = {path.name for path in PYTHON if re.search(r"\bMarkup\b", path.read_text())}
    assert found == {"showing.py", "charts.py"}
    # A chart's words go through `format` of a Markup, which escapes them: no Markup of a variable.
    assert not re.search(
        r"Markup\((?!\s*(['\"]|$))", (ROOM / "charts.py").read_text(), re.MULTILINE
    )
    for path in [*TEMPLATES, *LEAD]:
        assert not re.search(r"\|\s*safe\b|autoescape", path.read_text()), path.name


def test_no_script_makes_markup_or_code_of_a_text():
    assert len(SCRIPTS) > 5
    wrong = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?:"
    for path in SCRIPTS:
        assert not re.search(wrong, path.read_text()), path.name


def test_no_template_has_an_inline_script_or_style_or_an_address_elsewhere():
    assert len(TEMPLATES) > 10 and len(LEAD) > 10
    for path in [*TEMPLATES, *LEAD]:
        text = path.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|https?://|javascript:", text), path.name
        for script in re.findall(r"<script([^>]*)>", text):
            assert 'src="/static/' in script, path.name
    for path in ROOM.glob("static/*.css"):
        assert not re.search(r"url\(|@import|https?:", path.read_text()), path.name


def test_every_form_that_changes_something_carries_the_token():
    for path in [*TEMPLATES, *LEAD]:
        for form in re.findall(r"<form([^>]*)>(.*?)</form>", path.read_text(), re.DOTALL):
            attributes, inside = form
            if 'method="post"' not in attributes:
                continue
            anonymous = '"/login"' in attributes or "/invitation/" in attributes
            assert anonymous or re.search(r'include "csrf.html"|\{\{ csrf \}\}', inside), path.name


def test_what_people_read_stands_in_one_file():
    """Between tags a template has no words of its own."""
    for path in TEMPLATES:
        text = re.sub(r"\{% block page %\}.*?\n", "", path.read_text())
        text = re.sub(
            r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<!doctype html>",
            "",
            text,
            flags=re.DOTALL,
        )
        visible = re.sub(r"<kbd>.*?</kbd>|<[^>]*>", "", text, flags=re.DOTALL)
        # "UTC" is no word to be translated.
        left = [word for word in re.findall(r"[A-Za-z]{2,}", visible) if word != "UTC"]
        assert not left, (path.name, left)


def test_every_word_is_used_and_scripts_have_theirs():
    used = set()
    for path in [*TEMPLATES, *LEAD, *(path for path in PYTHON if path.name != "words.py")]:
        used |= set(re.findall(r"\bwords\.([A-Z][A-Z_0-9]*)", path.read_text()))
    defined = {name for name in vars(words) if name.isupper()}
    assert defined - used == set()
    assert used - defined == set()
    named = set()
    for path in SCRIPTS:
        text = path.read_text()
        named |= set(re.findall(r'word\(\s*"(\w+)"', text))
        for both in re.findall(r'word\([^"]*\? "(\w+)" : "(\w+)"', text):
            named |= set(both)
    assert named == set(json.loads(words.FOR_SCRIPTS))


def test_every_flag_has_a_key_and_every_reason_a_word():
    assert len(words.FLAG_KEYS) == MOST_FLAGS == len(set(words.FLAG_KEYS))
    assert not set(words.FLAG_KEYS) & set("jkos")
    assert set(words.USE_CASES) == set(USE_CASES)
    assert tuple(words.SKIP_REASONS) == SKIP_REASONS


# Texts of others


@settings(deadline=None)
@given(st.text())
def test_a_text_keeps_all_its_visible_characters_and_makes_no_tag(text: str):
    made = shown(text)
    assert isinstance(made, Markup)
    without = re.sub(r'<span class="unseen" title="[^"]*">U\+[0-9A-F]+</span>', "", made)
    assert "<" not in without
    kept = Markup(without).unescape()
    assert [c for c in kept if not HIDDEN.match(c)] == [c for c in text if not HIDDEN.match(c)]
    assert all(c in JOINERS for c in kept if HIDDEN.match(c))


@pytest.mark.parametrize(
    "text",
    [
        "<script>x</script>",
        "[x](javascript:x)",
        "![x](https://elsewhere.example/x.png)",
        "<img src=x>",
        "[x](data:text/html,x)",
        "[x](vbscript:x)",
    ],
)
def test_a_guideline_loads_and_runs_nothing(text: str):
    made = markdown(text)
    assert not re.search(r"<(script|img)", made)
    assert not re.search(r'href="(javascript|data|vbscript):', made)


def test_a_guideline_is_markdown():
    assert markdown("# One\n\n* *two*") == "<h1>One</h1>\n<ul>\n<li><em>two</em></li>\n</ul>\n"


# Between fields and forms

places = st.sampled_from(["", "1", "2", "3", "4", "unacceptable"])


@settings(deadline=None)
@given(st.lists(places, min_size=2, max_size=9), st.data())
def test_ranks_come_back_to_the_page_as_they_were(chosen: list[str], data: st.DataObject):
    positions = positions_of(len(chosen))
    # Only ranks that the page of so many responses has.
    kept = [rank if rank in (*positions, "unacceptable", "") else "" for rank in chosen]
    fields = {f"rank_{p}": rank for p, rank in zip(positions, kept, strict=True) if rank}
    form = with_ranking(None, positions, fields, PAPER)
    assert ranks_in(form, positions) == dict(zip(positions, kept, strict=True))


@settings(deadline=None)
@given(
    st.integers(1, 7),
    st.sets(st.sampled_from([name for name in PAPER.flag_names if name != "satisfies_constraint"])),
    st.sampled_from(["yes", "no", ""]),
)
def test_a_rating_is_what_was_ticked(likert: int, flags: set[str], constraint: str):
    fields = {f"flag_{name}": "on" for name in flags}
    fields |= {"likert": str(likert), "flag_satisfies_constraint": constraint}
    form = with_rating({"ratings": {"2": {"likert": 3}}}, "1", fields, PAPER)
    assert form["ratings"]["2"] == {"likert": 3}
    rating = rating_in(form, "1", PAPER)
    assert rating["likert"] == likert
    assert {name for name, value in rating["flags"].items() if value} - {
        "satisfies_constraint"
    } == flags
    expected = {"yes": True, "no": False, "": None}[constraint]
    assert rating["flags"]["satisfies_constraint"] is expected
    assert unrated(form, ["1", "2", "3"], "ranking") == ["3"]


def test_a_whole_form_is_one_that_the_store_takes():
    positions = ["1", "2"]
    form: Any = None
    for position in positions:
        form = with_rating(form, position, {"likert": "5"}, PAPER)
    form = with_ranking(form, positions, {"rank_1": "2", "rank_2": "unacceptable"}, PAPER)
    choices, texts = check_form("ranking", form, positions, PAPER)
    assert choices["rank_groups"] == [["1"], ["2"]]
    assert choices["unacceptable"] == ["2"]
    assert texts == {}
    said = {"response": "x", "label_ambiguous": "no", "label_use_case": "chat"}
    written = with_writing(None, said, PAPER)
    assert check_form("demonstration", written, [], PAPER)[0]["prompt_labels"] == {
        "ambiguous": False,
        "use_case": "chat",
    }
    assert labels_in(written, PAPER)["ambiguous"] == "no"
    assert labels_in(written, PAPER)["use_case"] == "chat"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "ratings",
                    "rank_groups",
                    "unacceptable",
                    "1",
                    "flags",
                    "likert",
                    "prompt_labels",
                    "response",
                    "comment",
                    "use_case",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(values)
def test_a_draft_of_any_program_opens_as_a_page(draft: Any):
    positions = ["1", "2", "3"]
    assert isinstance(as_form(draft), dict)
    assert set(ranks_in(draft, positions)) == set(positions)
    assert all(isinstance(value, str) for value in ranks_in(draft, positions).values())
    assert set(rating_in(draft, "1", PAPER)["flags"]) == set(PAPER.flag_names)
    assert set(labels_in(draft, PAPER)) == set(PAPER.label_names)
    assert all(isinstance(value, str) for value in labels_in(draft, PAPER).values())
    assert isinstance(text_in(draft, "response"), str)
    for task_type in COMPARISONS:
        assert set(unrated(draft, positions, task_type)) <= set(positions)
    with_ranking(draft, positions, {}, PAPER)
    with_rating(draft, "1", {}, PAPER)
    with_writing(draft, {}, PAPER)
