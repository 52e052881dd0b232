"""Sources and pieces: every kind of file, and everything that can be wrong with one."""

import gzip
import io
import json
import sys
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard
from corpora import built, document, reasons, recipe_of, write_lines
from typer.testing import CliRunner

from preceptor.cli import app
from preceptor.corpus import pieces, wet
from preceptor.corpus.build import require
from preceptor.corpus.pieces import Piece, plan_pieces
from preceptor.corpus.reading import read_piece, sample_texts
from preceptor.corpus.recipe import Source
from preceptor.corpus.tally import Tally
from preceptor.data import rows
from preceptor.data.catalogue import CATALOGUE
from preceptor.data.heldout import is_heldout
from preceptor.data.records import Document
from preceptor.errors import DataError

TEXTS = [document(n, 3) for n in range(6)]


def read(tmp_path, files, *, on_error="refuse", max_chars=10_000, **source):
    """The texts of one source and what its tally says."""
    recipe = recipe_of(tmp_path, sources=[{"name": "s", "files": files, **source}])
    tally, texts = Tally(0), []
    for piece in plan_pieces(recipe)[0]:
        texts += [
            text.text for text in read_piece(piece, tally, on_error=on_error, max_chars=max_chars)
        ]
    dropped = tally.steps.get("read", {"dropped": {}})["dropped"]
    return texts, {reason: count for reason, (count, _) in dropped.items()}


def compressed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content)
    return zstandard.ZstdCompressor().compress(content) if name.endswith(".zst") else content


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "txt", "json", "csv", "wet", "parquet"])
def test_every_kind_of_file_gives_its_texts(tmp_path, kind, ending):
    path = tmp_path / "in" / f"a.{kind}{ending}"
    path.parent.mkdir()
    content = {
        "jsonl": lambda: "".join(json.dumps({"text": t}) + "\n" for t in TEXTS),
        "txt": lambda: "\n\n".join(TEXTS),
        "json": lambda: json.dumps([{"text": t} for t in TEXTS]),
        "csv": lambda: "text\n" + "".join(f'"{t}"\n' for t in TEXTS),
        "wet": lambda: records([("conversion", t.encode()) for t in TEXTS]),
        "parquet": lambda: parquet(TEXTS),
    }[kind]()
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(compressed(path.name, content))
    assert read(tmp_path, str(tmp_path / "in")) == (TEXTS, {})


def parquet(texts: list[str]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), buffer)
    return buffer.getvalue()


def records(found: list[tuple[str, bytes]]) -> bytes:
    """WARC records as Common Crawl writes them."""
    parts = []
    for kind, content in [("warcinfo", b"software: x\r\n"), *found]:
        head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://a.b/\r\n"
        head += f"Content-Type: text/plain\r\nContent-Length: {len(content)}\r\n\r\n"
        parts.append(head.encode() + content + b"\r\n\r\n")
    return b"".join(parts)


def test_a_wet_file_of_many_gzip_members_is_read_whole(tmp_path):
    members = [gzip.compress(records([("conversion", t.encode())])) for t in TEXTS]
    (tmp_path / "a.warc.wet.gz").write_bytes(b"".join(members))
    assert read(tmp_path, str(tmp_path / "a.warc.wet.gz")) == (TEXTS, {})


def test_pages_as_html_are_named_and_counted(tmp_path):
    found = [("request", b"GET /"), ("response", b"<html>"), ("conversion", b"A text.")]
    (tmp_path / "a.warc").write_bytes(records(found))
    with pytest.raises(DataError, match=r"a\.warc:3: a page as HTML. Give the crawl's WET file"):
        read(tmp_path, str(tmp_path / "a.warc"))
    texts, dropped = read(tmp_path, str(tmp_path / "a.warc"), on_error="skip")
    assert texts == ["A text."] and sum(dropped.values()) == 1


def test_records_of_another_type_are_counted_unless_they_are_about_others(tmp_path):
    """ISO 28500 lets a `resource` hold a text too; nobody is to believe that it was read."""
    found = [
        ("metadata", b"a: b"),
        ("revisit", b""),
        ("resource", b"A text."),
        ("conversion", b"B"),
    ]
    (tmp_path / "a.warc").write_bytes(records(found))
    with pytest.raises(DataError, match=r"a\.warc:4: a record of type resource; texts are read of"):
        read(tmp_path, str(tmp_path / "a.warc"))
    texts, dropped = read(tmp_path, str(tmp_path / "a.warc"), on_error="skip")
    assert texts == ["B"] and sum(dropped.values()) == 1


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.wet"])
@pytest.mark.parametrize("whole_files", [False, True])
def test_a_file_that_may_not_be_read_is_counted_beside_others(
    tmp_path, monkeypatch, name, whole_files
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text("{}")
    (tmp_path / "in" / "b.jsonl").write_text('{"text": "one"}\n')
    plain = Path.open

    def locked(path, *given, **named):  # the user that tests run as may read everything
        if path.name == name:
            raise PermissionError(13, "Permission denied")
        return plain(path, *given, **named)

    monkeypatch.setattr(Path, "open", locked)
    given = {"whole_files": True} if whole_files else {}
    with pytest.raises(DataError, match=f"{name}.*: it may not be read by this user"):
        read(tmp_path, str(tmp_path / "in"), **given)
    texts, dropped = read(tmp_path, str(tmp_path / "in"), on_error="skip", **given)
    assert texts == ["one"] and list(dropped) == ["it may not be read by this user."]


def test_a_table_whose_columns_have_one_name_is_counted_beside_others(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("text,a,a\nx,1,2\n")
    (tmp_path / "in" / "b.jsonl").write_text('{"text": "one"}\n')
    texts, dropped = read(tmp_path, str(tmp_path / "in"), on_error="skip")
    assert texts == ["one"] and sum(dropped.values()) == 1


@pytest.mark.parametrize(
    ("content", "told", "left"),
    [
        (records([("conversion", b"A text.")]) + b"rubbish\r\n", "no WARC record begins here", 1),
        (records([("conversion", b"A text.")])[:-14], "cut off", 0),
        (b"WARC/1.0\r\nWARC-Type: conversion\r\n\r\n", "without Content-Length", 0),
        (records([("conversion", b"\xff\xfe"), ("conversion", b"B.")]), "not UTF-8", 1),
        (records([("conversion", b"x" * 300), ("conversion", b"B.")]), "a record over", 1),
    ],
)
def test_a_broken_wet_file_says_so_and_keeps_what_can_be_read(
    tmp_path, monkeypatch, content, told, left
):
    monkeypatch.setattr(wet.read_wet, "__defaults__", (200,))
    (tmp_path / "a.wet").write_bytes(content)
    with pytest.raises(DataError, match=told):
        read(tmp_path, str(tmp_path / "a.wet"))
    texts, dropped = read(tmp_path, str(tmp_path / "a.wet"), on_error="skip")
    assert len(texts) == left and [told in reason for reason in dropped] == [True]


def test_a_broken_row_is_refused_by_its_place_or_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [b'{"text": "one"}', b'{"text": "\xff"}', b"{broken", b'{"text": 7}', b'{"other": "x"}',
             b'{"text": ""}', b'{"text": null}', b"[1]", b'{"text": "two"}']  # fmt: skip
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(DataError, match=r"a\.jsonl:2: not UTF-8"):
        read(tmp_path, str(path))
    texts, dropped = read(tmp_path, str(path), on_error="skip")
    assert texts == ["one", "two"]
    assert sum(dropped.values()) == 7 and dropped["empty"] == 2
    assert len(texts) + sum(dropped.values()) == len(lines)


def test_a_truncated_gzip_keeps_what_came_before(tmp_path):
    whole = gzip.compress("".join(json.dumps({"text": t}) + "\n" for t in TEXTS * 200).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged or cut off"):
        read(tmp_path, str(tmp_path / "a.jsonl.gz"))
    texts, dropped = read(tmp_path, str(tmp_path / "a.jsonl.gz"), on_error="skip")
    assert 0 < len(texts) < 1200 and sum(dropped.values()) >= 1


def test_a_line_without_end_takes_no_memory(tmp_path):
    """A line of 150 MB, and the limit of 64: what is held is about the limit."""
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "before"}\n{"text": "')
        for _ in range(150):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"text": "after"}\n')
    tracemalloc.start()
    texts, dropped = read(tmp_path, str(path), on_error="skip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert texts == ["before", "after"] and sum(dropped.values()) == 1
    assert peak < 2.5 * rows.LONGEST_ROW


def test_a_document_over_the_limit_is_counted(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", ["short", "x" * 101])
    assert read(tmp_path, str(path), max_chars=100) == (["short"], {"over max_chars": 1})


def test_a_text_file_can_be_one_document(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("One.\n\nTwo.\r\n")
    (tmp_path / "in" / "b.txt").write_bytes(b"\xff")
    texts, dropped = read(tmp_path, str(tmp_path / "in"), on_error="skip", whole_files=True)
    assert texts == ["One.\n\nTwo."] and list(dropped) == ["not UTF-8. Save it as UTF-8."]
    assert read(tmp_path, str(tmp_path / "in/a.txt"))[0] == ["One.", "Two."]


def test_another_key_may_have_the_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"content": "one", "text": "no"}\n')
    assert read(tmp_path, str(tmp_path / "a.jsonl"), text_key="content")[0] == ["one"]


@pytest.mark.parametrize("whole", [False, True])
def test_the_key_is_for_files_of_rows_and_not_for_text_beside_them(tmp_path, whole):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"content": "Of a row.", "text": "Not this."}\n')
    (folder / "b.txt").write_text("Of a text file.\n")
    (folder / "c.wet").write_bytes(records([("conversion", b"Of a crawl.")]))
    texts, dropped = read(tmp_path, str(folder), text_key="content", whole_files=whole)
    assert (texts, dropped) == (["Of a row.", "Of a text file.", "Of a crawl."], {})
    (folder / "d.jsonl").write_text('{"text": "No such key."}\n')
    with pytest.raises(DataError, match=r'd\.jsonl:1: no "content"'):
        read(tmp_path, str(folder), text_key="content")


def test_a_data_set_of_the_hub_is_a_source(tmp_path, monkeypatch):
    asked = []

    def load_dataset(name, config, *, split, streaming):
        asked.append((name, config, split, streaming))
        return [{"text": text} for text in TEXTS]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert read(tmp_path, ["hf:some/set", "hf:some/set:en@valid"])[0] == [*TEXTS, *TEXTS]
    assert asked == [("some/set", None, "train", True), ("some/set", "en", "valid", True)]


def test_a_missing_library_of_the_hub_is_told_before_anything_is_read(tmp_path, monkeypatch):
    """Even with `on_error: skip`: nothing is broken that could be left out."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    sources = [{"name": "a", "files": ["hf:owner/name"]}]
    with pytest.raises(DataError, match=r"pip install 'preceptor\[hub\]'"):
        built(recipe_of(tmp_path, sources=sources, on_error="skip"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_parquet_file_that_is_none_is_refused_or_counted(tmp_path):
    write_lines(tmp_path / "a.jsonl", [document(n) for n in range(3)])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 cut off")
    files = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.parquet")]
    values = {"sources": [{"name": "a", "files": files}]}
    with pytest.raises(DataError, match="b.parquet: not Parquet that can be read"):
        built(recipe_of(tmp_path, **values), tmp_path / "refused")
    card = built(recipe_of(tmp_path, **values, on_error="skip"), tmp_path / "out")
    [reason] = reasons(card, "read")
    assert reason.startswith("not Parquet that can be read") and card["left"] == 3


def test_a_package_is_a_source(monkeypatch):
    monkeypatch.setattr("preceptor.data.package_text.read_facts", lambda: ["A fact.", "Two."])
    piece = Piece(Source(name="facts", package="randfacts"), ())
    texts = list(read_piece(piece, Tally(0), on_error="refuse", max_chars=100))
    assert [(t.text, t.place) for t in texts] == [
        ("A fact.", "randfacts:1"),
        ("Two.", "randfacts:2"),
    ]


def with_documents() -> list[str]:
    return [name for name, entry in CATALOGUE.items() if "documents" in entry.files]


@pytest.mark.parametrize("by_package", [False, True])
@pytest.mark.parametrize("name", with_documents())
def test_every_set_of_running_text_is_a_source(tmp_path, monkeypatch, name, by_package):
    entry = CATALOGUE[name]
    made = [Document(f"Text {n}.", name, {"title": f"title {n}"}) for n in range(3)]
    monkeypatch.setitem(CATALOGUE, name, replace(entry, files={"documents": lambda: made}))
    package = entry.package if by_package else name
    recipe = recipe_of(tmp_path, sources=[{"name": "s", "package": package}])
    require(recipe)
    [piece], _ = plan_pieces(recipe)
    texts = read_piece(piece, Tally(0), on_error="refuse", max_chars=100)
    assert [t.text for t in texts] == [d.text for d in made if not is_heldout(d.meta["title"])]


@pytest.mark.parametrize("name", sorted(CATALOGUE.keys() - set(with_documents())))
def test_a_set_without_running_text_says_what_it_holds_and_which_have_some(tmp_path, name):
    recipe = recipe_of(tmp_path, sources=[{"name": "s", "package": name}])
    held = list(CATALOGUE[name].files) or [CATALOGUE[name].good_for.partition(":")[0]]
    told = f"package {name}: it holds .*{' and '.join(held)}, no running text. Running text is in "
    with pytest.raises(DataError, match=told + ", ".join(with_documents())):
        require(recipe)


def test_a_package_that_is_none_is_refused_before_anything_runs(tmp_path):
    for name, told in (
        ("wikipedia", "no set of that name"),
        ("chatterbot-corpus", "its sets are small-talk; none is running text"),
    ):
        recipe = recipe_of(tmp_path, sources=[{"name": "s", "package": name}])
        with pytest.raises(DataError, match=told):
            built(recipe, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_corpus_of_a_package_names_its_licence(tmp_path, monkeypatch):
    facts = [text for n in range(20) if not is_heldout(text := document(n, 2))][:8]
    monkeypatch.setattr("preceptor.data.package_text.read_facts", lambda: facts)
    recipe = recipe_of(tmp_path, sources=[{"name": "facts", "package": "randfacts"}])
    built(recipe, tmp_path / "out")
    told = (tmp_path / "out" / "ATTRIBUTION.md").read_text()
    assert "## randfacts" in told and "MIT" in told and "8 in the corpus" in told
    assert "the set facts" in told and "BY-SA" not in told
    monkeypatch.setitem(CATALOGUE, "facts", replace(CATALOGUE["facts"], notice="LICENSE"))
    monkeypatch.setattr("preceptor.data.catalogue.read_member", lambda *_: b"Terms.")
    built(recipe, tmp_path / "again")  # where the licence must go with the data, it does
    assert (tmp_path / "again" / "LICENSE-facts").read_text() == "Terms."


def test_everything_that_is_broken_is_on_the_card(tmp_path):
    """Whatever enters stands once: among the kept, or under a reason."""
    good = [document(n) for n in range(20)]
    write_lines(tmp_path / "a.jsonl", good)
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{broken\n{"text": "\xff"}\n{"text": ""}\n')
    sources = [{"name": "a", "files": str(tmp_path / "a.jsonl")}]
    recipe = recipe_of(tmp_path, sources=sources, on_error="skip", quality={})
    card = built(recipe, tmp_path / "out")
    assert sum(reasons(card, "read").values()) == 3
    assert card["sources"][0]["rows"] == 23 and card["sources"][0]["documents"] == 20
    assert card["documents"]["train"] + card["documents"]["valid"] == 20
    with pytest.raises(DataError, match=r"a\.jsonl:21: not JSON"):
        built(recipe.model_copy(update={"on_error": "refuse"}), tmp_path / "refused")
    assert not (tmp_path / "refused" / "corpus.json").exists()


def test_what_is_held_out_of_a_package_is_held_out_of_a_corpus(tmp_path, monkeypatch):
    facts = [f"Fact {n} is curious." for n in range(200)]
    monkeypatch.setattr("preceptor.data.package_text.read_facts", lambda: facts)
    recipe = recipe_of(tmp_path, sources=[{"name": "s", "package": "randfacts"}])
    [piece], tally = plan_pieces(recipe)[0], Tally(0)
    kept = [t.text for t in read_piece(piece, tally, on_error="refuse", max_chars=1000)]
    assert kept == [fact for fact in facts if not is_heldout(fact)]
    [(reason, (count, _))] = tally.steps["read"]["dropped"].items()
    assert reason == "held out by its title" and 0 < count == 200 - len(kept)


def test_a_tokenizer_is_trained_on_as_much_of_every_piece(tmp_path, monkeypatch):
    """As the recipe reads its sources: another key, a crawl's records, a broken row skipped."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)  # a piece for each file
    rows = [json.dumps({"content": "a" * 10}) for _ in range(50)]
    (tmp_path / "a.jsonl").write_text("\n".join(["{broken", *rows]))
    (tmp_path / "b.wet").write_bytes(records([("conversion", b"b" * 10)] * 50))
    (tmp_path / "c.txt").write_text("c" * 10)
    names = {"a": {"files": "a.jsonl", "text_key": "content"}, "b": {"files": "b.wet"}}
    names["c"] = {"files": "c.txt"}
    sources = [
        {"name": name, **options, "files": str(tmp_path / options["files"])}
        for name, options in names.items()
    ]
    recipe = recipe_of(tmp_path, sources=sources, on_error="skip")
    assert Counter(text[0] for text in sample_texts(recipe, 300)) == {"a": 10, "b": 10, "c": 1}
    assert Counter(text[0] for text in sample_texts(recipe, 10**6)) == {"a": 50, "b": 50, "c": 1}
    refusing = recipe_of(tmp_path, sources=sources, on_error="refuse")
    with pytest.raises(DataError, match=r"a\.jsonl:1: not JSON"):
        list(sample_texts(refusing, 300))
    (tmp_path / "c.txt").write_text("")
    empty = recipe_of(tmp_path, sources=sources[2:], on_error="skip")
    with pytest.raises(DataError, match="no text in any source"):
        list(sample_texts(empty, 300))


def test_the_command_makes_a_tokenizer_that_the_recipe_then_takes(tmp_path):
    (tmp_path / "a.wet").write_bytes(records([("conversion", t.encode()) for t in TEXTS]))
    values = recipe_of(tmp_path, sources=[{"name": "a", "files": str(tmp_path / "a.wet")}])
    values = values.model_dump(mode="json") | {"tokenizer": str(tmp_path / "made")}
    (tmp_path / "r.yaml").write_text(json.dumps(values))
    made = ["corpus", "tokenizer", str(tmp_path / "r.yaml"), "--out"]
    told = CliRunner().invoke(app, [*made, str(tmp_path / "made"), "--vocabulary-size", "300"])
    assert told.exit_code == 0, told.output
    assert "300 tokens" in told.stdout
    built = ["corpus", "build", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, built).exit_code == 0
    again = CliRunner().invoke(app, [*made, str(tmp_path / "made")])
    assert again.exit_code == 2 and "there is something in it" in again.output
