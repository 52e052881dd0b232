"""Decontamination against a naive search of words, and the paper's numbers one by one."""

import json
import re

import numpy as np
import pytest
from corpora import WORDS, built, document, reasons, recipe_of, write_lines

from preceptor.corpus.contamination import Benchmarks, cut_out, hits_in
from preceptor.corpus.recipe import DecontaminateConfig
from preceptor.corpus.words import words_of
from preceptor.errors import DataError

QUESTION = (
    "Which of the seven old bridges over the winter river was carried away by the great flood "
    "before the new market opened"
)
ANSWER = "The stone bridge near the garden was the one that was carried away in that evening"


@pytest.fixture
def config(tmp_path) -> DecontaminateConfig:
    path = tmp_path / "bench.jsonl"
    rows = [{"question": QUESTION, "choices": [{"text": ANSWER}, {"text": "No"}], "label": 0}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DecontaminateConfig(files=[str(path)])


def naive_runs(text: str, run: int = 13) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[at : at + run]) for at in range(len(words) - run + 1)}


def test_a_text_is_touched_exactly_if_a_naive_search_finds_13_words(config):
    index = Benchmarks.read(config).runs
    bench = naive_runs(f"{QUESTION}\n{ANSWER}\nNo")
    assert len(index) == len(bench)
    words = QUESTION.split()
    texts = [document(n) for n in range(50)]
    for n in range(40):  # n words of the question in the middle of something else
        start = n % 9
        texts.append(f"{document(n, 2)} {' '.join(words[start : start + n])} {document(n + 99, 2)}")
    texts.append(QUESTION.upper().replace(" ", " - ") + "?!")
    texts.append(QUESTION[60:] + " " + ANSWER[:40])  # from the question into the answer
    touched = [bool(len(hits_in(text, index, 13))) for text in texts]
    naive = [bool(naive_runs(text) & bench) for text in texts]
    assert touched == naive
    assert 5 < sum(naive) < len(texts) - 50
    for text, was in zip(texts, naive, strict=True):
        assert (cut_out(text, index, config) is not None) == was


def test_what_is_cut_is_the_run_and_200_characters_on_each_side(config):
    before, after = "b" * 500, "a" * 500
    thirteen = " ".join(QUESTION.split()[2:15])
    cut = cut_out(f"{before} {thirteen} {after}", Benchmarks.read(config).runs, config)
    # The blank beside the run belongs to the 200.
    assert cut is not None and cut.pieces == ["b" * 301, "a" * 301]
    assert cut.cut == thirteen


def test_short_pieces_go_and_are_counted_before(config):
    index = Benchmarks.read(config).runs
    cut = cut_out(f"{'b' * 390} {QUESTION} {'a' * 600}", index, config)
    assert cut is not None and cut.num_pieces == 2 and len(cut.pieces) == 1
    gone = cut_out(f"{'b' * 300} {QUESTION} {'a' * 300}", index, config)
    assert gone is not None and gone.pieces == []


def test_no_piece_has_a_run_and_nothing_else_is_lost(config):
    index = Benchmarks.read(config).runs
    text = f"{document(1, 30)} {QUESTION} {document(2, 30)} {ANSWER} {document(3, 30)}"
    cut = cut_out(text, index, config)
    assert cut is not None and len(cut.pieces) == 3
    for piece in cut.pieces:
        assert piece in text
        assert not len(hits_in(piece, index, 13))
    windows = len(QUESTION) + len(ANSWER) + 4 * 200
    assert len(text) - sum(map(len, cut.pieces)) <= windows + 8


def build_with(tmp_path, texts: list[str], **values):
    write_lines(tmp_path / "a.jsonl", texts)
    rows = [{"question": QUESTION}, {"answer": ANSWER}]
    (tmp_path / "bench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = recipe_of(
        tmp_path,
        sources=[{"name": "a", "files": str(tmp_path / "a.jsonl")}],
        decontaminate={"files": str(tmp_path / "bench.jsonl")} | values,
    )
    return built(recipe, tmp_path / "out")


def test_a_run_in_more_than_ten_documents_is_common_and_stays(tmp_path):
    touched = [f"{document(n, 30)} {QUESTION} {document(n + 50, 30)}" for n in range(11)]
    once = f"{document(80, 30)} {ANSWER} {document(81, 30)}"
    card = build_with(tmp_path, [*touched, once])
    assert card["cut"] == {"documents cut": 1, "pieces of cut documents": 2}


def test_a_run_in_ten_documents_is_cut(tmp_path):
    touched = [f"{document(n, 30)} {QUESTION} {document(n + 50, 30)}" for n in range(10)]
    card = build_with(tmp_path, touched)
    assert card["cut"] == {"documents cut": 10, "pieces of cut documents": 20}


def test_a_document_in_too_many_pieces_goes_and_one_without_a_rest_too(tmp_path):
    many = " ".join([document(n, 12) + " " + QUESTION for n in range(12)])
    little = f"Short. {QUESTION} End."
    card = build_with(tmp_path, [many, little, document(70), document(71)])
    assert reasons(card, "decontaminate") == {
        "cut into more than max_pieces": 1,
        "nothing long enough is left": 1,
    }


def test_the_card_says_what_each_benchmark_covers(tmp_path):
    """Counted by hand: two files share the answer, and the question is a common phrase here."""
    rows = {
        "one.jsonl": [{"q": QUESTION}, {"a": ANSWER}, {"q": "What is the capital of Spain"}],
        "two.jsonl": [{"q": "Too short"}, {"a": [ANSWER]}, {"q": " ".join(WORDS[:12])}],
        "<three>.jsonl": [{"q": " ".join(WORDS[:13])}],
    }
    for name, own in rows.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in own))
    texts = [f"{document(n, 30)} {QUESTION} {document(n + 50, 30)}" for n in range(11)]
    texts += [f"{document(80 + n, 30)} {ANSWER} {document(90 + n, 30)}" for n in range(3)]
    texts += [f"Short. {ANSWER}", document(70)]
    write_lines(tmp_path / "a.jsonl", texts)
    recipe = recipe_of(
        tmp_path,
        sources=[{"name": "a", "files": str(tmp_path / "a.jsonl")}],
        decontaminate={"files": [str(tmp_path / name) for name in rows]},
    )
    card = built(recipe, tmp_path / "out")
    common = len(QUESTION.split()) - 12
    keys = ("file", "items", "too_short", "documents", "common_runs")
    told = [tuple(row[key] for key in keys) for row in card["benchmarks"]]
    files = [str(tmp_path / name) for name in rows]
    assert told == [(files[0], 3, 1, 4, common), (files[1], 3, 2, 4, 0), (files[2], 1, 0, 0, 0)]
    page = (tmp_path / "out" / "corpus.html").read_text()
    [table] = re.findall(r"<th>benchmark</th>.*?</table>", page, re.DOTALL)
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", table)[5:]
    short = '2 <span class="soft">66.7 %</span>'
    assert cells[5:10] == [f"<code>{files[1]}</code>", "3", short, "4", "0"]
    assert cells[10] == f"<code>{tmp_path / '&lt;three&gt;.jsonl'}</code>"


def test_benchmarks_that_cannot_be_read_stop_the_build(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"q": "a b"}\n')
    with pytest.raises(DataError, match="no 13 words in a row"):
        Benchmarks.read(DecontaminateConfig(files=[str(tmp_path / "b.jsonl")]))
    (tmp_path / "b.jsonl").write_text("{broken\n")
    with pytest.raises(DataError, match=r"b\.jsonl:1: not JSON"):
        Benchmarks.read(DecontaminateConfig(files=[str(tmp_path / "b.jsonl")]))
    (tmp_path / "b.jsonl").write_text("")
    with pytest.raises(DataError, match="nothing in it"):
        Benchmarks.read(DecontaminateConfig(files=[str(tmp_path / "b.jsonl")]))


def test_an_empty_index_finds_nothing(config):
    assert len(hits_in(QUESTION, np.empty(0, dtype=np.uint64), 13)) == 0
