"""The data card: other people's text does no harm in it, and it says what corpus.json says."""

import html
import json
import re

import pytest
from corpora import built, document, recipe_of, write_lines

from preceptor.corpus.card import amount

EVIL = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</blockquote></details><script src=//evil.example/x.js></script>",
    "<svg/onload=alert(1)> {{ 7*7 }} {% raw %} ${7*7} &lt;b&gt; <style>*{display:none}</style>",
    "javascript:alert(1) <a href='javascript:alert(1)'>x</a> <iframe srcdoc='<script>1</script>'>",
]


@pytest.fixture
def page(tmp_path) -> str:
    """A card in which every place that can hold a stranger's words holds something evil."""
    folder = tmp_path / "<img src=x onerror=alert(2)>"
    texts = [document(n, 10) for n in range(12)] + [f"{evil} {document(90)}" for evil in EVIL]
    write_lines(folder / "a.jsonl", [*texts, *EVIL, *(f"{t} x" for t in texts)])
    write_lines(folder / "bench.jsonl", [" ".join(document(3, 10).split()[20:36])])
    (folder / "b.txt").write_text("script\n")
    recipe = recipe_of(
        tmp_path,
        sources=[{"name": "a", "files": str(folder / "a.jsonl")}],
        quality={"min_words": 8},
        duplicates={},
        decontaminate={"files": str(folder / "bench.jsonl")},
        blocklist={"file": str(folder / "b.txt"), "max_fraction": 0.02},
    )
    built(recipe, tmp_path / "out")
    return (tmp_path / "out" / "corpus.html").read_text(encoding="utf-8")


def test_nothing_of_a_document_becomes_markup(page):
    tags = set(re.findall(r"<\s*/?\s*([a-zA-Z]+)", page))
    assert not tags & {"script", "img", "svg", "iframe", "style>"}
    assert page.count("<style>") == 1
    assert not re.findall(r"<[^>]*\son\w+\s*=", page)
    assert not re.findall(r"<[^>]*(?:href|src)\s*=\s*[\"']?[^#\"'\s]", page)
    for evil in EVIL:
        assert evil not in page
    assert any(html.escape(evil[:20], quote=True)[:12] in page for evil in EVIL)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_templates_in_a_document_are_not_run(page):
    assert "{{ 7*7 }}" in html.unescape(page) and "49 {%" not in page


def test_the_page_says_what_the_json_says(page, tmp_path):
    card = json.loads((tmp_path / "out" / "corpus.json").read_text())
    for step in card["steps"]:
        for row in step["reasons"]:
            assert html.escape(row["reason"]) in page
            for example in row["examples"]:
                assert example["text"] in html.unescape(page)
    assert card["sha256"] in page


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0"), (999, "999"), (1234, "1.23 k"), (45_600_000, "45.6 M"), (3e11, "300 G")],
)
def test_amounts_are_short(number, told):
    assert amount(number) == told
