"""Rows of every kind of file: each once, with its place; what is broken is named, the rest read."""

import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import sys
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.data import rows
from preceptor.data.formats import general
from preceptor.data.rows import read_rows
from preceptor.errors import DataError

ROWS = [{"prompt": 'Où?\n"a, b"', "response": "日本 \u2028"}, {"prompt": "b", "response": "]"}]


def zstandard_bytes(data: bytes) -> bytes:
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard_bytes,
}


def as_lines(found: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found).encode()


def as_json(found: list[dict[str, Any]]) -> bytes:
    return json.dumps(found, indent=2, ensure_ascii=False).encode()


def as_csv(found: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]))
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue().encode()


def as_parquet(found: list[dict[str, Any]]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(found), sink)
    return sink.getvalue()


WRITE: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    ".jsonl": as_lines,
    ".json": as_json,
    ".csv": as_csv,
    ".parquet": as_parquet,
}


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("suffix", WRITE)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, suffix: str, compression: str):
    path = tmp_path / f"d{suffix}{compression}"
    path.write_bytes(COMPRESS[compression](WRITE[suffix](ROWS)))
    assert [row for _, row in read_rows(path)] == ROWS


def test_a_row_s_place_is_the_line_it_begins_on(tmp_path: Path):
    tall = [{"prompt": "one\ntwo"}, {"prompt": "three"}, {"prompt": "four"}]
    (tmp_path / "d.csv").write_bytes(as_csv(tall))
    (tmp_path / "d.json").write_text(json.dumps(tall, indent=1))
    (tmp_path / "d.jsonl").write_text("\n" + as_lines(tall).decode())
    places = {p: [w.rpartition(":")[2] for w, _ in read_rows(p)] for p in tmp_path.iterdir()}
    assert {path.name: found for path, found in places.items()} == {
        "d.csv": ["2", "4", "5"],
        "d.json": ["2", "5", "8"],
        "d.jsonl": ["2", "3", "4"],
    }


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(
    found=st.lists(st.dictionaries(st.text(), values), max_size=6),
    indent=st.sampled_from([None, 2]),
    piece=st.integers(1, 40),
)
def test_json_is_read_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, found: Any, indent: int | None, piece: int
):
    folder = tmp_path_factory.mktemp("json")
    (folder / "list.json").write_text(json.dumps(found, indent=indent))
    (folder / "one-after-another.json").write_text("\n".join(json.dumps(row) for row in found))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "READ_BYTES", piece * 4)
        for path in folder.iterdir():
            assert [row for _, row in read_rows(path)] == found


@pytest.mark.parametrize("compression", [c for c in COMPRESS if c])
def test_a_file_that_is_cut_off_gives_what_is_there_and_says_so(tmp_path: Path, compression: str):
    noise = [{"n": number, "text": f"{number * 7919 % 100003}" * 20} for number in range(20_000)]
    whole = COMPRESS[compression](as_lines(noise))
    path = tmp_path / f"d.jsonl{compression}"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    found = [row for _, row in read_rows(path)]
    *good, last = found
    good = [row for row in good if not isinstance(row, DataError)]
    assert good == noise[: len(good)]
    assert isinstance(last, DataError)
    assert "damaged or cut off after this" in str(last)


def test_two_frames_of_zstandard_are_one_file(tmp_path: Path):
    path = tmp_path / "d.jsonl.zst"
    path.write_bytes(zstandard_bytes(as_lines(ROWS)) + zstandard_bytes(as_lines(ROWS)))
    assert [row for _, row in read_rows(path)] == ROWS * 2


@pytest.mark.parametrize("magic", [0x50, 0x5F])
def test_a_frame_of_zstandard_that_is_to_be_skipped_may_stand_anywhere(tmp_path: Path, magic: int):
    """RFC 8878, 3.1.2: a magic number of sixteen, a size, and so many bytes of anything."""
    skipped = bytes([magic]) + b"\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"other"
    path = tmp_path / "d.jsonl.zst"
    path.write_bytes(skipped + zstandard_bytes(as_lines(ROWS)) + skipped)
    assert [row for _, row in read_rows(path)] == ROWS


def test_a_frame_of_zstandard_may_look_back_as_far_as_the_tool_lets_it(tmp_path: Path):
    """As `zstd --long=31` writes them, whose frames the library refuses by default."""
    zstandard = pytest.importorskip("zstandard")
    options = zstandard.ZstdCompressionParameters(window_log=29, enable_ldm=True)
    writer = zstandard.ZstdCompressor(compression_params=options).compressobj()
    path = tmp_path / "d.jsonl.zst"
    path.write_bytes(writer.compress(as_lines(ROWS)) + writer.flush())
    with pytest.raises(zstandard.ZstdError, match="too much memory"):
        zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    assert [row for _, row in read_rows(path)] == ROWS


def test_compression_is_seen_from_the_bytes_not_from_the_name(tmp_path: Path):
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(as_lines(ROWS)))
    (tmp_path / "b.jsonl.gz").write_bytes(as_lines(ROWS))
    assert [[row for _, row in read_rows(p)] for p in sorted(tmp_path.iterdir())] == [ROWS, ROWS]


def test_what_windows_puts_before_utf_8_is_no_part_of_a_key(tmp_path: Path):
    for suffix in (".jsonl", ".json", ".csv"):
        path = tmp_path / f"d{suffix}"
        path.write_bytes(b"\xef\xbb\xbf" + WRITE[suffix](ROWS))
        assert [row for _, row in read_rows(path)] == ROWS


def test_a_broken_line_is_named_and_the_rest_is_read(tmp_path: Path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"a": 1}\nno\n{"a": "\xff"}\n\n{"a": 2}\n')
    found = list(read_rows(path))
    assert [row for _, row in found if isinstance(row, dict)] == [{"a": 1}, {"a": 2}]
    problems = [str(row) for _, row in found if isinstance(row, DataError)]
    assert problems[0].startswith(f"{path}:2: not JSON")
    assert problems[1].startswith(f"{path}:3: not UTF-8")


# A file of another encoding has a bad byte here and there; it once ended the reading of tables and
# of JSON, and what came after was in no count.
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
@pytest.mark.parametrize("bad", [0, 2, 999])
def test_a_byte_that_is_no_utf_8_costs_its_own_row_alone(tmp_path: Path, suffix: str, bad: int):
    whole = [{"a": f"{number} Où?", "b": "x"} for number in range(1000)]
    content = WRITE[suffix](whole)
    path = tmp_path / f"d{suffix}"
    path.write_bytes(content.replace(f"{bad} Où".encode(), f"{bad} O\xf9".encode("latin-1"), 1))
    found = list(read_rows(path))
    assert [row for _, row in found if isinstance(row, dict)] == whole[:bad] + whole[bad + 1 :]
    [(where, problem)] = [placed for placed in found if isinstance(placed[1], DataError)]
    assert where == list(read_rows(path))[bad][0]
    line = {".jsonl": bad + 1, ".json": 4 * bad + 2, ".csv": bad + 2}[suffix]
    assert general(str(problem)) == f"{path}:{line}: not UTF-8. Save it as UTF-8."


def test_a_bad_byte_between_carriage_returns_costs_its_own_row_alone(tmp_path: Path):
    path = tmp_path / "d.csv"
    path.write_bytes(b'a,b\r1,2\r3,"caf\xe9\r5"\r6,7\r\n8,9\n')
    (_, one), (where, bad), (_, two), (_, three) = read_rows(path)
    assert [one, two, three] == [{"a": "1", "b": "2"}, {"a": "6", "b": "7"}, {"a": "8", "b": "9"}]
    assert str(bad) == f"{where}: not UTF-8. Save it as UTF-8."
    assert where == f"{path}:3"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.json", b'[{"a": 1},\n{"a": }, {"a": 2}]'),
        ("d.json", b'[{"a": 1}]\n{"a": 2}'),
        ("d.json", b"[" + b'{"a":' * 100_000),
        ("d.json", b'[{"a": "' + b"x" * 2**14 + b'"}, {"a": 2}]'),
        ("d.csv", b'a\n"b"c\nd\n'),
        ("d.csv", b"a\n" + b"x" * 2**14 + b"\nd\n"),
    ],
)
def test_what_cannot_be_read_on_says_so(
    tmp_path: Path, monkeypatch: Any, name: str, content: bytes
):
    if len(content) < 2**15:
        monkeypatch.setattr(rows, "LONGEST_ROW", 2**12)
        monkeypatch.setattr(rows, "READ_BYTES", 2**10)
    path = tmp_path / name
    path.write_bytes(content)
    *_, (_, problem) = read_rows(path)
    assert str(problem).endswith(". The rest of the file was not read.")


def test_a_row_too_long_is_named_and_passed_over(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(rows, "LONGEST_ROW", 2**12)
    monkeypatch.setattr(rows, "READ_BYTES", 2**10)
    path = tmp_path / "d.jsonl"
    path.write_text('{"a": 1}\n{"a": "' + "x" * 2**14 + '"}\n{"a": 2}\n')
    (_, first), (where, second), (last, third) = read_rows(path)
    assert (first, third, last) == ({"a": 1}, {"a": 2}, f"{path}:3")
    assert where == f"{path}:2"
    assert "a row of over" in str(second)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_the_limit_of_a_row_is_in_bytes(tmp_path: Path, monkeypatch: Any, suffix: str):
    monkeypatch.setattr(rows, "LONGEST_ROW", 2**12)
    monkeypatch.setattr(rows, "READ_BYTES", 2**10)
    path = tmp_path / f"d{suffix}"
    fits, too_long = {"a": "\U0001f40e" * 1000}, {"a": "\U0001f40e" * 4000}
    write = WRITE[suffix]
    path.write_bytes(write([fits]))
    assert [row for _, row in read_rows(path)] == [fits]
    path.write_bytes(write([fits, too_long]))
    (_, first), (_, second) = read_rows(path)
    assert first == fits and "a row of over" in str(second)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_a_row_just_under_the_limit_takes_a_bounded_memory(
    tmp_path: Path, monkeypatch: Any, suffix: str
):
    """One character of four bytes, and Python holds all of the text at four bytes each."""
    monkeypatch.setattr(rows, "LONGEST_ROW", 2**20)
    monkeypatch.setattr(rows, "READ_BYTES", 2**14)
    path = tmp_path / f"d{suffix}"
    path.write_bytes(WRITE[suffix]([{"a": "x" * (2**20 - 100) + "\U0001f40e"}]))
    tracemalloc.start()
    try:
        [(_, row)] = read_rows(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(row["a"]) == 2**20 - 99
    assert peak < 14 * 2**20  # text, row and what is added to them, at 4 MiB each


@pytest.mark.parametrize("cell", ["x" * 2**13, '"' + "x,y\n" * 2**11 + '"', "x\r" + "x" * 2**13])
def test_a_row_of_a_table_that_is_too_long_is_not_cut_into_several(
    tmp_path: Path, monkeypatch: Any, cell: str
):
    monkeypatch.setattr(rows, "LONGEST_ROW", 2**12)
    path = tmp_path / "d.csv"
    path.write_bytes(f"a\nfits\n{cell}\n".encode())
    (_, first), (where, second) = read_rows(path)
    assert (first, where) == ({"a": "fits"}, f"{path}:2")
    assert "a row of over" in str(second)


def test_lines_of_a_table_may_end_in_a_carriage_return_alone(tmp_path: Path):
    path = tmp_path / "d.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r1,2\r\n3,"4\r5"\r6,7\n')
    found = [row for _, row in read_rows(path)]
    assert found == [{"a": "1", "b": "2"}, {"a": "3", "b": "4\r5"}, {"a": "6", "b": "7"}]


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("d.json", b'[{"a": 1}, {"a": 2}', ":1: the list is not closed"),
        ("d.json", b'[{"a": 1},\n{"a": }]', ":2: not JSON from here on"),
        ("d.json", b'[{"a": 1}]\n{"a": 2}', ":2: '{' stands after the end of the list"),
        ("d.json", b'[{"a": 1}] ]', ":1: ']' stands after the end of the list"),
        ("d.json", b'[{"a": 1}]\n[{"a": 2}', ":2: the list is not closed"),
        ("d.json", b'[{"a": "caf\xe9"}]', ":1: not UTF-8. Save it as UTF-8."),
        ("d.json", b"\xff\xfe[\0{\0}\0]\0", ":1: not UTF-8 between values. The rest"),
        ("d.json", b"[" + b'{"a":' * 100_000, ":1: JSON that is nested too deep"),
        ("d.json", b'[{"a": 1},\n{"a": "\\ud800"}]', ":2: half a surrogate pair"),
        ("d.json", b'[{"a": 1},\n{"a": "\\uDC00"}]', ":2: half a surrogate pair"),
        ("d.csv", b"a,b\n1,2\n3\n", ":3: 1 cells, the header has 2"),
        ("d.csv", b"a,ranks\n1,[1\n", ':2: "ranks" is a list that is not JSON'),
        ("d.csv", b"a,ranks\n1," + b"[" * 50_000, ':2: "ranks" is JSON that is nested too deep'),
        ("d.jsonl", b"[" * 500 + b"]" * 500, ":1: JSON that is nested too deep"),
        ("d.json", b"[" * 501 + b"]" * 501, ":1: JSON that is nested too deep"),
        ("d.csv", b"prompt,a\n\"[{'role': 'user'}]\",1\n", ':2: "prompt" has turns as Python'),
        ("d.csv", b"a\ncaf\xe9\n", ":2: not UTF-8. Save it as UTF-8."),
        ("d.csv", b"caf\xe9\na\n", ":1: not UTF-8 in the names of the columns. The rest of the"),
        ("d.csv", b'a\n"open\n', "not CSV after this"),
        ("d.csv", b"a,b,a\n1,2,3\n", ":1: two columns have one name in a, b, a. The rest of the"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, content: bytes, rule: str):
    path = tmp_path / name
    path.write_bytes(content)
    *_, (_, problem) = read_rows(path)
    assert isinstance(problem, DataError)
    assert str(problem).startswith(str(path))
    assert rule in str(problem)
    assert str(problem).endswith(".")


def test_a_file_of_several_lists_is_read_to_its_end(tmp_path: Path):
    path = tmp_path / "d.json"
    path.write_text('[{"a": 1}][{"a": 2},\n{"a": 3}]\n[]\n')
    assert [(w[-2:], row["a"]) for w, row in read_rows(path)] == [(":1", 1), (":1", 2), (":2", 3)]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_what_is_no_number_is_null(tmp_path: Path, suffix: str):
    path = tmp_path / f"d{suffix}"
    path.write_text('{"a": NaN, "b": [Infinity, 1]}\n')
    assert [row for _, row in read_rows(path)] == [{"a": None, "b": [None, 1]}]


def test_a_table_s_times_and_bytes_can_be_written_as_json(tmp_path: Path):
    day = datetime.datetime(2024, 5, 6, 7, 8)
    rich = {"prompt": "Q", "at": day, "n": float("nan"), "b": b"x", "d": Decimal("1.5"), "l": [day]}
    path = tmp_path / "d.parquet"
    path.write_bytes(as_parquet([rich]))
    [(_, row)] = read_rows(path)
    told = "2024-05-06T07:08:00"
    assert row == {"prompt": "Q", "at": told, "n": None, "b": "x", "d": "1.5", "l": [told]}
    json.dumps(row, allow_nan=False)


def test_a_table_s_times_that_python_does_not_know_are_text(tmp_path: Path):
    """Nanoseconds, and years over 9999, as columns hold them that nobody asked for."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "text": pyarrow.array(["a", "b"]),
        "at": pyarrow.array([1_700_000_000_000_000_001, None], pyarrow.timestamp("ns")),
        "far": pyarrow.array([3_652_059_000, 0], pyarrow.timestamp("s")).cast(
            pyarrow.timestamp("us")
        ),
        "day": pyarrow.array([2_932_897, 0], pyarrow.int32()).cast(pyarrow.date32()),
        "took": pyarrow.array([1, 2], pyarrow.duration("ns")),
    }
    path = tmp_path / "d.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    (_, first), (_, second) = read_rows(path)
    assert first["text"] == "a" and first["at"].endswith("20.000000001") and first["took"] == 1
    assert first["day"] == "10000-01-01" and second["day"] == "1970-01-01"
    assert second["text"] == "b" and second["at"] is None
    json.dumps([first, second])


def test_a_value_that_nobody_can_hold_costs_its_own_row_alone(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    far = pyarrow.array([[0], [2_932_897], [1]], pyarrow.list_(pyarrow.int32()))
    days = far.cast(pyarrow.list_(pyarrow.date32()))
    path = tmp_path / "d.parquet"
    parquet.write_table(pyarrow.table({"text": ["a", "b", "c"], "days": days}), path)
    (_, first), (where, second), (_, third) = read_rows(path)
    assert (first["text"], third["text"]) == ("a", "c")
    assert isinstance(second, DataError) and where.endswith(":2")
    assert "a value that Python cannot hold" in str(second)


def test_columns_of_one_name_are_not_chosen_from(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "d.parquet"
    parquet.write_table(pyarrow.Table.from_arrays([["a"], ["b"]], names=["text", "text"]), path)
    [(_, problem)] = read_rows(path)
    assert isinstance(problem, DataError)
    assert "two columns have one name in text, text" in str(problem)


@pytest.mark.parametrize("kind", ["string", "large_string", "list", "struct", "binary"])
def test_text_of_parquet_that_is_no_utf_8_costs_its_own_row_alone(tmp_path: Path, kind: str):
    """Some tools write bytes of any encoding as text; no reader of columns looks at them."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    raw = [
        f"{number} é".encode("latin-1" if number in (3, 599) else "utf-8") for number in range(600)
    ]
    cells = pyarrow.array(raw, pyarrow.binary())
    if kind == "list":
        ends = pyarrow.array(range(601), pyarrow.int32())
        cells = pyarrow.ListArray.from_arrays(ends, cells.view(pyarrow.string()))
    elif kind == "struct":
        cells = pyarrow.StructArray.from_arrays([cells.view(pyarrow.string())], ["inner"])
    elif kind == "large_string":
        cells = cells.cast(pyarrow.large_binary()).view(pyarrow.large_string())
    elif kind == "string":
        cells = cells.view(pyarrow.string())
    path = tmp_path / "d.parquet"
    parquet.write_table(pyarrow.table({"a": cells, "n": range(600)}), path)
    found = list(read_rows(path))
    assert [where for where, _ in found] == [f"{path}:{number}" for number in range(1, 601)]
    good = [row for _, row in found if isinstance(row, dict)]
    assert [row["n"] for row in good] == [n for n in range(600) if n not in (3, 599)]
    wrap = {"list": lambda text: [text], "struct": lambda text: {"inner": text}}
    assert good[5]["a"] == wrap.get(kind, str)("6 é")
    problems = [str(row) for _, row in found if isinstance(row, DataError)]
    assert problems == [f"{path}:{n}: not UTF-8. Save it as UTF-8." for n in (4, 600)]


def test_bytes_of_a_data_set_of_the_hub_are_not_guessed(monkeypatch: Any):
    class Bytes(FakeHub):
        def load_dataset(self, *args: Any, **named: Any) -> Any:
            return [{"a": "é".encode()}, {"a": b"\xe9"}]

    monkeypatch.setitem(sys.modules, "datasets", Bytes())
    (_, first), (_, second) = read_rows("hf:set")
    assert first == {"a": "é"}
    assert str(second) == "hf:set:2: not UTF-8. Save it as UTF-8."


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_tells_what_stands_between_cells(tmp_path: Path, delimiter: str):
    path = tmp_path / "d.csv"
    path.write_text(f'instruction{delimiter}output\n"a, b; c"{delimiter}d\n')
    assert [row for _, row in read_rows(path)] == [{"instruction": "a, b; c", "output": "d"}]


def test_lists_in_cells_of_a_table_are_json(tmp_path: Path):
    path = tmp_path / "d.csv"
    path.write_bytes(
        as_csv([{"prompt": "[not json]", "responses": '["a", "b"]', "ranks": "[1, 2]"}])
    )
    [(_, row)] = read_rows(path)
    assert row == {"prompt": "[not json]", "responses": ["a", "b"], "ranks": [1, 2]}


@pytest.mark.parametrize("text", ['[{"a": 1}, explain this JSON', '[{"a": 1}]', '[{"' * 50_000])
def test_a_prompt_in_a_cell_that_begins_like_json_and_holds_no_turns_is_text(
    tmp_path: Path, text: str
):
    path = tmp_path / "d.csv"
    path.write_bytes(as_csv([{"prompt": text, "response": "ok"}]))
    assert [row for _, row in read_rows(path)] == [{"prompt": text, "response": "ok"}]
    turns = [{"role": "user", "content": "Q"}]
    path.write_bytes(as_csv([{"prompt": json.dumps(turns), "response": "ok"}]))
    assert [row for _, row in read_rows(path)] == [{"prompt": turns, "response": "ok"}]


def test_text_has_no_byte_order_mark_and_a_line_of_blanks_ends_a_document(tmp_path: Path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"\xef\xbb\xbfone\n   \ntwo\n \t\r\nthree\n")
    assert [row["text"] for _, row in read_rows(path)] == ["one", "two", "three"]


@pytest.mark.parametrize("line", ["x" * 2**14, "\n".join(["x" * 100] * 200)])
def test_a_document_too_long_is_named_and_passed_over(tmp_path: Path, monkeypatch: Any, line: str):
    monkeypatch.setattr(rows, "LONGEST_ROW", 2**12)
    monkeypatch.setattr(rows, "READ_BYTES", 2**10)
    path = tmp_path / "t.txt"
    path.write_text(f"one\n\n{line}\nits end\n\ntwo\n")
    (_, first), (where, second), (_, third) = read_rows(path)
    assert (first["text"], third["text"], where) == ("one", "two", f"{path}:3")
    assert "A blank line ends a document." in str(second)


def test_plain_text_is_documents_with_a_blank_line_between(tmp_path: Path):
    path = tmp_path / "t.txt.gz"
    path.write_bytes(gzip.compress(b"\n\none\r\nand more\n\ntwo\n\n\ncaf\xe9\n\nthree"))
    found = list(read_rows(path))
    assert [row["text"] for _, row in found if isinstance(row, dict)] == [
        "one\nand more", "two", "three",
    ]  # fmt: skip
    assert [where.rpartition(":")[2] for where, _ in found] == ["3", "6", "9", "11"]
    assert str(found[2][1]).startswith(f"{path}:9: not UTF-8 at byte 3")


@pytest.mark.parametrize("bad", [3, 4, 5])
def test_a_document_with_a_line_that_is_no_utf_8_is_dropped_whole_and_once(
    tmp_path: Path, monkeypatch: Any, bad: int
):
    """It was kept without that line, and one document counted as dropped beside it."""
    path = tmp_path / "t.txt"
    lines = [b"one", b"", b"two", b"more", b"its end", b"", b"three"]
    lines[bad - 1] += b" caf\xe9"
    lines[4] += b" \xe9"
    path.write_bytes(b"\n".join(lines))
    (_, first), (where, second), (_, third) = read_rows(path)
    assert (first["text"], third["text"], where) == ("one", "three", f"{path}:{bad}")
    assert general(str(second)) == f"{where}: not UTF-8. Save it as UTF-8."
    monkeypatch.setattr(rows, "LONGEST_ROW", 12)
    assert len(list(read_rows(path))) == 3  # too long besides, and still one document


def test_a_file_that_grows_ten_thousandfold_is_read_in_little_memory(tmp_path: Path):
    path = tmp_path / "d.jsonl.zst"
    path.write_bytes(zstandard_bytes((b'{"a": 1}' + b" " * 2**20 + b"\n") * 256))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    assert sum(1 for _ in read_rows(path)) == 256
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # of 256 MB


def test_a_missing_file_says_which_there_can_be(tmp_path: Path):
    with pytest.raises(DataError, match=r"none\.jsonl: no such file\. It must be \.jsonl, \.json"):
        list(read_rows(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    ("library", "path", "extra"),
    [("pyarrow", "d.parquet", "parquet"), ("datasets", "hf:some/set", "hub")],
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: Any, library: str, path: str, extra: str
):
    monkeypatch.chdir(tmp_path)
    Path("d.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DataError, match=rf"pip install 'preceptor\[{extra}\]'"):
        list(read_rows(path))


class FakeHub:
    """Stands for the library datasets: notes what was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def load_dataset(self, name: str, config: str | None, *, split: str, streaming: bool) -> Any:
        self.asked = [name, config, split, streaming]
        if name == "none":
            raise FileNotFoundError("Couldn't find it.\nMore.")
        return ROWS


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("hf:org/set", ["org/set", None, "train", True]),
        ("hf:org/set@test", ["org/set", None, "test", True]),
        ("hf:org/set:en@validation", ["org/set", "en", "validation", True]),
        ("hf:set@train[:10]", ["set", None, "train[:10]", False]),  # a slice cannot be streamed
    ],
)
def test_a_data_set_of_the_hub(monkeypatch: Any, name: str, asked: list[Any]):
    hub = FakeHub()
    monkeypatch.setitem(sys.modules, "datasets", hub)
    assert list(read_rows(name)) == [(f"{name}:1", ROWS[0]), (f"{name}:2", ROWS[1])]
    assert hub.asked == asked


def test_a_data_set_that_cannot_be_had_is_one_line(monkeypatch: Any):
    monkeypatch.setitem(sys.modules, "datasets", FakeHub())
    with pytest.raises(DataError, match=r"^hf:none: cannot be read \(FileNotFoundError: Could"):
        list(read_rows("hf:none"))


def test_the_library_itself_reads_a_folder(tmp_path: Path, monkeypatch: Any):
    pytest.importorskip("datasets", reason="needs the extra hub")
    (tmp_path / "train.jsonl").write_bytes(as_lines(ROWS))
    assert [row for _, row in read_rows(f"hf:{tmp_path}@train")] == ROWS
