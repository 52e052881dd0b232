"""The data card: other people's text does no harm in it, and it says what corpus.json says."""

import html
import json
import re

import pytest
from corpora import advert, built, document, reasons, recipe_of, write_lines

from preceptor.corpus.card import amount, setting, share, whys
from preceptor.corpus.tally import excerpt

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


def two_sources(tmp_path):
    """Twenty good documents and twenty raw ones; the card, and its page."""
    write_lines(tmp_path / "good.jsonl", [document(n) for n in range(20)])
    write_lines(tmp_path / "raw.jsonl", [advert(n) * 9 for n in range(20)])
    sources = [
        {"name": "good", "files": str(tmp_path / "good.jsonl"), "is_good": True},
        {"name": "raw", "files": str(tmp_path / "raw.jsonl"), "classify": True},
    ]
    recipe = recipe_of(tmp_path, sources=sources, classifier={"alpha": 1, "num_features": 4096})
    card = built(recipe, tmp_path / "out")
    return card, html.unescape((tmp_path / "out" / "corpus.html").read_text(encoding="utf-8"))


def test_what_is_left_has_the_documents_that_the_last_step_was_not_asked_about(tmp_path):
    card, page = two_sources(tmp_path)
    assert card["steps"][-1]["step"] == "classifier"
    assert card["left"] == 20 + card["steps"][-1]["kept"] == sum(card["documents"].values())
    assert f"Of 40 documents that were read, {card['left']} are left" in page


def test_of_few_held_out_documents_the_page_says_how_much_they_tell(tmp_path):
    """Two of each class are held out, and parted without a fault: that may be chance."""
    card, page = two_sources(tmp_path)
    found = card["classifier"]
    assert found["held_out_auc"] == 1 and found["held_out_good"] == found["held_out_raw"] == 2
    assert found["held_out_auc_low"] < 0.5 and found["held_out_auc_high"] == 1
    assert "(2 good, 2 raw)" in page and "with probability 1.000 (95 % interval 0.342 to" in page


def test_a_source_of_which_nothing_is_left_shows_nothing_as_left(tmp_path):
    write_lines(tmp_path / "a.jsonl", [document(n) for n in range(4)])
    write_lines(tmp_path / "b.jsonl", [f"{document(n)} forbidden" for n in range(10, 14)])
    write_lines(tmp_path / "bench.jsonl", [" ".join(document(11).split()[20:36])])
    (tmp_path / "words.txt").write_text("forbidden\n")
    card = built(
        recipe_of(
            tmp_path,
            sources=[{"name": n, "files": str(tmp_path / f"{n}.jsonl")} for n in "ab"],
            decontaminate={"files": str(tmp_path / "bench.jsonl")},
            blocklist={"file": str(tmp_path / "words.txt")},
            on_error="skip",
        ),
        tmp_path / "out",
    )
    assert reasons(card, "blocklist") == {"blocked words": 4}
    assert {row["source"] for row in card["kept_examples"]} == {"a"}


def test_personal_data_that_are_masked_are_in_no_example(tmp_path):
    """Not in those that an earlier step dropped, nor in the pairs of near-duplicates."""
    mails = [f"Write to jane{n}@example.com. {document(n, 6)}" for n in range(6)]
    texts = [*mails, *(f"{mail} Indeed." for mail in mails[:3]), "jane9@example.com is short."]
    write_lines(tmp_path / "a.jsonl", texts)
    values = {"sources": [{"name": "a", "files": str(tmp_path / "a.jsonl")}],
              "quality": {}, "duplicates": {}}  # fmt: skip
    for masked, personal in ((True, {}), (False, None)):
        card = built(recipe_of(tmp_path, **values, personal=personal), tmp_path / f"{masked}")
        assert reasons(card, "quality") == {"fewer than min_words": 1}
        assert card["duplicate_pairs"]["examples"]
        for name in ("corpus.json", "corpus.html"):
            shown = (tmp_path / f"{masked}" / name).read_text(encoding="utf-8")
            assert ("@example.com" in shown) != masked
            assert ("EMAIL_1" in shown) == masked
        assert card["masked"] == ({"EMAIL": 6} if masked else {})


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (1234, "1.23 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (45_600_000, "45.6 M"),
        (3e11, "300 G"),
    ],
)
def test_amounts_are_short(number, told):
    assert amount(number) == told


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [(0, 0, "0.0 %"), (0, 9, "0.0 %"), (4, 17_071, "<0.1 %"), (1, 8, "12.5 %"), (9, 9, "100.0 %"),
     (17_067, 17_071, ">99.9 %"), (218, 215, "101.4 %")],
)  # fmt: skip
def test_a_little_is_not_called_nothing_and_nearly_all_not_all(part, whole, told):
    assert share(part, whole) == told


def test_settings_are_told_as_they_are_written():
    values = (True, 3.0, 1e-05, 0.3, 262_144, "US", ["a", "b"], [], None)
    told = ["true", "3", "1e-05", "0.3", "262144", "US", "a, b", "none", "none"]
    assert [setting(value) for value in values] == told


def test_an_example_shows_what_was_found_however_deep_it_stands():
    text = f"{document(1, 60)} A Forbidden word. {document(2, 60)}"
    shown = excerpt(text, near="forbidden")
    assert "Forbidden word" in shown and shown.startswith("… ") and shown.endswith(" …")
    assert len(shown) <= 404 and shown[2:-2] in text
    assert text[text.index(shown[2:-2]) - 1] == " "  # from a word's beginning on
    for near in ("", "nowhere"):
        assert excerpt(text, near=near) == text[:400].rstrip() + " …"
    assert excerpt("Short.", near="short") == "Short."


@pytest.mark.parametrize("before", [0, 1, 5, 6, 7, 18, 40])
def test_an_example_begins_and_ends_in_no_personal_data(before):
    """Numbers and addresses stand everywhere, one of them around the words themselves."""
    people = [f"jane{n}@example.com (212) 555-01{n:02d}" for n in range(99)]
    text = f"{' '.join(people[:before])} x.forbidden@example.com {' '.join(people)}"
    for near in ("forbidden", "555-0105", ""):
        shown = excerpt(text, "US", near)
        assert "example" not in shown and "forbidden" not in shown and "555" not in shown


def test_what_was_cut_or_masked_has_examples_among_many_that_were_not(tmp_path):
    texts = [document(n, 30) for n in range(80)]
    texts[30] += f" Write to jane@example.com. {document(99)}"
    texts[31] += f" {document(98, 1)} {document(97, 20)}"
    write_lines(tmp_path / "a.jsonl", texts)
    write_lines(tmp_path / "bench.jsonl", [document(98, 1) + " " + document(97, 1)])
    card = built(
        recipe_of(
            tmp_path,
            sources=[{"name": "a", "files": str(tmp_path / "a.jsonl")}],
            decontaminate={"files": str(tmp_path / "bench.jsonl")},
            personal={},
        ),
        tmp_path / "out",
    )
    shown = {step["step"]: step["kept_examples"] for step in card["steps"]}
    [cut], [masked] = shown["decontaminate"], shown["personal"]
    assert cut["place"].endswith(":32") and cut["detail"].startswith("cut: ")
    assert " […] " in cut["text"]
    assert masked["place"].endswith(":31") and masked["detail"] == "1 EMAIL"
    assert "Write to <EMAIL_1>." in masked["text"]
    assert len(card["kept_examples"]) == 3  # any documents


def test_counts_that_follow_from_each_other_are_not_explained():
    recipe = {"sources": [{"name": "a"}, {"name": "b"}], "language": None, "quality": {}}
    steps_as_they_are = {"classifier": {}, "cut": {"documents cut": 0}, "recipe": recipe}
    assert whys(steps_as_they_are) == []
    other = {"classifier": {"by_score": []}, "cut": {"documents cut": 1}, "recipe": recipe}
    assert len(whys(other)) == 2
    recipe["sources"][1]["quality"] = None
    assert whys(steps_as_they_are) == ["Rules on quality: not a step of b."]
