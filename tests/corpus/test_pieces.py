"""Which files of a source are read; the others are counted, named, and on the card."""

import json
import os
from pathlib import Path

import pytest
from corpora import document, recipe_of, write_lines

from preceptor.corpus import pieces
from preceptor.corpus.build import build
from preceptor.errors import RecipeError


def planned(tmp_path: Path, files, **values):
    recipe = recipe_of(tmp_path, sources=[{"name": "s", "files": files}], **values)
    return pieces.plan_pieces(recipe)


def test_patterns_find_files_each_once_and_in_order(tmp_path, monkeypatch):
    for name in ("x/b.jsonl", "x/a.jsonl", "x/deep/c.jsonl", "x/read.me", "y.jsonl"):
        write_lines(tmp_path / name, [name])
    base = str(tmp_path)
    [piece], _ = planned(tmp_path, [f"{base}/x", f"{base}/**/*.jsonl", f"{base}/y.jsonl"])
    found = [Path(path).relative_to(tmp_path).as_posix() for path in piece.paths]
    assert found == ["x/a.jsonl", "x/b.jsonl", "x/deep/c.jsonl", "y.jsonl"]
    monkeypatch.setattr(pieces, "PIECE_BYTES", 50)
    found, _ = planned(tmp_path, [f"{base}/x"])
    assert len(found) == 2  # two files of some 20 bytes fit, a third does not
    assert [path for piece in found for path in piece.paths] == sorted(
        str(tmp_path / name) for name in ("x/a.jsonl", "x/b.jsonl", "x/deep/c.jsonl")
    )


def test_what_is_not_there_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match="source s: .*no file in it ends in .jsonl"):
        planned(tmp_path, str(tmp_path / "empty"))
    with pytest.raises(RecipeError, match="source s: .*no such file"):
        planned(tmp_path, str(tmp_path / "*.jsonl"))


@pytest.fixture
def mixed(tmp_path) -> Path:
    """A folder with one file that is read, and every kind of thing that is not."""
    folder = tmp_path / "in"
    for name in ("1.pdf", "2.PDF", "deep/3.pdf", "4.pdf", "a.html.gz", "README"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    (folder / "lost.jsonl").symlink_to(tmp_path / "nowhere")
    (folder / "two\nlines.pdf").write_text("x")
    (folder / "1. A report").write_text("x")
    (folder / f"a.{'report' * 3}").write_text("x")
    write_lines(folder / "deep" / "a.jsonl", [document(n) for n in range(20)])
    return folder


def test_everything_in_a_folder_is_read_or_counted(mixed, tmp_path):
    [piece], passed_over = planned(tmp_path, str(mixed))
    assert piece.paths == (str(mixed / "deep" / "a.jsonl"),)
    assert {one.kind: one.count for one in passed_over} == {
        ".pdf": 5, ".html": 1, pieces.NO_ENDING: 3, pieces.FOLDER_LINK: 1, pieces.NO_FILE: 1,
    }  # fmt: skip
    things = [path for path in mixed.rglob("*") if path.is_symlink() or not path.is_dir()]
    assert len(things) == len(piece.paths) + sum(one.count for one in passed_over)
    [pdf] = [one for one in passed_over if one.kind == ".pdf"]
    assert str(pdf) == "5 .pdf (1.pdf, 2.PDF, 4.pdf, ...)"


def test_what_was_passed_over_is_said_and_on_the_card(mixed, tmp_path):
    said: list[str] = []
    recipe = recipe_of(tmp_path, sources=[{"name": "s", "files": str(mixed)}])
    page = build(recipe, tmp_path / "out", workers=1, say=said.append)
    at = said.index("corpus source s: passed over, not read")
    assert said[at + 1] == "    5 .pdf: 1.pdf, 2.PDF, 4.pdf, ..."
    assert "    1 .html: a.html.gz" in said
    card = json.loads((tmp_path / "out" / "corpus.json").read_text())
    by_kind = {row["kind"]: (row["source"], row["count"]) for row in card["passed_over"]}
    assert by_kind[".pdf"] == ("s", 5) and len(by_kind) == 5
    text = page.read_text()
    assert "11 files of kinds that are not read" in text and "a.html.gz" in text


def test_long_names_are_told_in_80_columns():
    long = f"reports/{'x' * 200}/2019-final-version.pdf"
    seen = [
        pieces.PassedOver("web", ".pdf", 1_200, (long, "a name with blanks.pdf", long)),
        pieces.PassedOver("web", pieces.NO_FILE, 1, (f"a.{'e' * 100}",)),
        pieces.PassedOver("books", ".epub", 1, ("b.epub",)),
    ]
    said = list(pieces.lines_of(seen))
    assert all(len(line) <= 80 for line in said)
    assert [line for line in said if line.startswith("corpus")] == [
        "corpus source web: passed over, not read", "corpus source books: passed over, not read",
    ]  # fmt: skip
    assert said[1].startswith("    1,200 .pdf: reports/xxx") and "…xxx" in said[1]
    assert "/2019-final-version.pdf" in said[1] and said[-1] == "    1 .epub: b.epub"


def test_a_folder_of_nothing_but_other_files_says_what_they_are(mixed, tmp_path):
    (mixed / "deep" / "a.jsonl").unlink()
    told = r"no file in it ends in .*There are: 5 \.pdf \(1\.pdf, 2\.PDF, 4\.pdf, \.\.\.\); 3 "
    with pytest.raises(RecipeError, match=told):
        planned(tmp_path, str(mixed))
    with pytest.raises(RecipeError, match=r"no source has a file .*There are: 5 \.pdf"):
        planned(tmp_path, str(mixed), on_error="skip")
    write_lines(tmp_path / "b.jsonl", ["b"])
    _, passed_over = planned(
        tmp_path, [str(mixed), str(mixed), str(tmp_path / "b.jsonl")], on_error="skip"
    )
    assert sum(one.count for one in passed_over) == 11  # each once, though named twice


def test_a_pattern_that_names_folders_says_so(mixed, tmp_path):
    with pytest.raises(RecipeError, match=r"no such file.*1 folders that a pattern names \(.*deep"):
        planned(tmp_path, str(mixed / "d*"))
    [piece], passed_over = planned(tmp_path, [f"{mixed}/**/*.jsonl"])
    assert piece.paths == (str(mixed / "deep" / "a.jsonl"),)  # the link goes round and round
    assert [(one.kind, one.names) for one in passed_over] == [
        (pieces.NO_FILE, (str(mixed / "lost.jsonl"),))
    ]


def test_a_name_that_is_no_text_is_refused_or_counted(tmp_path):
    folder = tmp_path / "in"
    write_lines(folder / "a.jsonl", ["a"])
    os.close(os.open(os.fsencode(folder) + b"/b\xff.jsonl", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(RecipeError, match=r"with a name that is not UTF-8: b\\udcff\.jsonl"):
        planned(tmp_path, str(folder))
    [piece], [one] = planned(tmp_path, str(folder), on_error="skip")
    assert len(piece.paths) == 1 and (one.kind, one.count) == (pieces.NO_NAME, 1)


def test_a_folder_that_may_not_be_read_is_refused_or_counted(tmp_path, monkeypatch):
    write_lines(tmp_path / "in" / "a.jsonl", ["a"])
    (tmp_path / "in" / "closed").mkdir()
    scan = os.scandir

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", refusing)
    with pytest.raises(RecipeError, match="folders that may not be read: .*closed"):
        planned(tmp_path, str(tmp_path / "in"))
    [piece], [one] = planned(tmp_path, str(tmp_path / "in"), on_error="skip")
    assert len(piece.paths) == 1 and one.kind == pieces.CLOSED
