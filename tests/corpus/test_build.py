"""The whole build: every document counted, killed and gone on with, wrong recipes, one folder."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from corpora import (
    built,
    document,
    everything,
    files_of,
    reasons,
    recipe_of,
    save_tokenizer,
    write_examples,
    write_lines,
)
from transformers import AutoTokenizer

from preceptor.corpus.build import alone_in, build
from preceptor.corpus.recipe import CorpusRecipe, load_corpus_recipe
from preceptor.data.shards import read_card
from preceptor.errors import DataError, RecipeError
from preceptor.models.tokenizers import fingerprint, prepare_tokenizer


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr("preceptor.corpus.pieces.PIECE_BYTES", 10_000)


def test_every_document_is_counted_in_every_step(tmp_path):
    card = built(recipe_of(tmp_path, **everything(tmp_path)), tmp_path / "out")
    steps = card["steps"]
    assert [step["step"] for step in steps] == [
        "read", "language", "quality", "classifier", "duplicates", "decontaminate", "blocklist",
        "toxicity", "personal",
    ]  # fmt: skip
    for step in steps:
        assert step["entered"] == step["kept"] + sum(r["documents"] for r in step["reasons"])
    through = {step["step"]: step for step in steps}
    assert through["read"]["entered"] == 60 + 80 + 40 + 21 + 9 + 3 + 2
    assert through["language"]["entered"] == through["read"]["kept"]
    assert through["quality"]["entered"] == through["language"]["kept"]
    # What is good is not asked.
    good = through["quality"]["kept_by_source"]["good"]
    assert through["classifier"]["entered"] == through["quality"]["kept"] - good
    assert through["duplicates"]["entered"] == through["classifier"]["kept"] + good
    assert through["decontaminate"]["entered"] == through["duplicates"]["kept"]
    more = card["cut"]["pieces of cut documents"] - card["cut"]["documents cut"]
    assert through["blocklist"]["entered"] == through["decontaminate"]["kept"] + more
    assert through["toxicity"]["entered"] == through["blocklist"]["kept"]
    assert through["personal"]["entered"] == through["toxicity"]["kept"]
    total = sum(s["train_documents"] for s in card["sources"]) + card["documents"]["valid"]
    assert total == through["personal"]["kept"]
    for step in ("language", "quality", "classifier", "duplicates", "blocklist", "toxicity"):
        assert through[step]["dropped"] > 0, step
    assert card["cut"]["documents cut"] > 0 and card["masked"]["EMAIL"] > 0
    for step in steps:
        for row in step["reasons"]:
            assert row["examples"] or step["step"] == "duplicates"
    assert card["duplicate_pairs"]["examples"]
    assert card["classifier"]["held_out_auc"] > 0.9


def test_the_same_recipe_gives_the_same_bytes(tmp_path):
    values = everything(tmp_path)
    for name, workers in (("a", 1), ("b", 2)):
        built(recipe_of(tmp_path, **values), tmp_path / name, workers)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert not (tmp_path / "a" / "work").exists()


def command(tmp_path: Path, out: Path, workers: int, before: str = "") -> list[str]:
    script = (
        f"import sys, preceptor.corpus.pieces as pieces; pieces.PIECE_BYTES = 10_000\n{before}"
        "from preceptor.cli import app; app()"
    )
    words = ["corpus", "build", str(tmp_path / "recipe.yaml"), "--out", str(out)]
    return [sys.executable, "-c", script, *words, f"--workers={workers}"]


def start(words: list[str], log: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    with log.open("ab") as file:
        return subprocess.Popen(
            words, env=environment, start_new_session=True, stdout=file, stderr=file
        )


PASSES = ("read", "score", "bands", "duplicates", "unique", "tokens", "shards", "card")


@pytest.mark.parametrize(
    ("workers", "passes"),
    [
        (1, ("read", "unique", "shards")),
        pytest.param(1, PASSES, marks=pytest.mark.slow),
        pytest.param(2, PASSES, marks=pytest.mark.slow),
    ],
)
def test_killed_in_its_passes_it_ends_with_the_same_bytes(tmp_path, workers, passes):
    """kill -9 at the first sign of each pass; the sum of the attempts is one whole build."""
    recipe = recipe_of(tmp_path, **everything(tmp_path))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    built(recipe, tmp_path / "whole")
    out, killed = tmp_path / "out", []
    for name in passes:
        process = start(command(tmp_path, out, workers), tmp_path / "log")
        try:
            while process.poll() is None and not (out / "work" / "logs" / name).is_dir():
                time.sleep(0.002)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                killed.append(name)
            process.wait()
    assert len(killed) >= len(passes) - 2, (tmp_path / "log").read_text()
    assert not (out / "corpus.json").exists() or killed[-1] == "card"
    process = start(command(tmp_path, out, workers), tmp_path / "log")
    assert process.wait(120) == 0, (tmp_path / "log").read_text()
    assert files_of(out) == files_of(tmp_path / "whole")
    assert "/1\n" in (tmp_path / "log").read_text()


KILLED_WITH_A_MANAGER = """
import multiprocess, os, signal
begin = multiprocess.Manager
def begin_and_die():
    manager = begin()
    os.kill(os.getpid(), signal.SIGKILL)
multiprocess.Manager = begin_and_die
"""
"""The pool's first process answers by then, and there is no worker yet."""


def test_a_pool_s_manager_ends_with_the_build(tmp_path):
    """Else its folder stays locked, and the same command does not go on."""
    save_recipe(tmp_path)
    words = command(tmp_path, tmp_path / "out", 2, KILLED_WITH_A_MANAGER)
    process = start(words, tmp_path / "log")
    assert process.wait(120) == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert_group_ends(process.pid)
    with alone_in(tmp_path / "out"):
        assert (tmp_path / "out" / "work" / "logs" / "read").is_dir()


@pytest.mark.slow
def test_workers_end_with_the_build(tmp_path):
    """Killed alone, not with its group, while a worker has a task."""
    save_recipe(tmp_path)
    process = start(command(tmp_path, tmp_path / "out", 2), tmp_path / "log")
    while process.poll() is None and not list((tmp_path / "out" / "work").glob(AT_WORK)):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert_group_ends(process.pid)


AT_WORK = "logs/tokens/logs/*"
"""A worker makes its log when it begins a task."""


def save_recipe(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, **everything(tmp_path))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))


def assert_group_ends(group: int) -> None:
    """All that a build began see within a second or two that it is no more."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    raise AssertionError("a process of the build goes on")


FEW_FILES = """
import os, resource
os.fsync = lambda number: None
pieces.PIECE_BYTES = 1000
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
"""


def test_open_files_do_not_grow_with_the_pieces(tmp_path):
    """84 pieces and 64 files; what is left out looks at one document alone."""
    off = ("language", "quality", "blocklist", "toxicity", "personal")
    values = everything(tmp_path) | dict.fromkeys(off)
    for number in range(80):
        write_lines(tmp_path / "raw" / f"many-{number}.jsonl", [document(8000 + number, 14)])
    recipe = recipe_of(tmp_path, **values | {"duplicates": {"num_bands": 2}, "shard_tokens": 9000})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    words = command(tmp_path, tmp_path / "out", 1, FEW_FILES)
    assert start(words, tmp_path / "log").wait(300) == 0, (tmp_path / "log").read_text()
    assert "corpus read 0/84\n" in (tmp_path / "log").read_text()
    assert len(read_card(tmp_path / "out")["shards"]["train"]) > 5


def test_a_build_may_open_as_many_files_as_its_user(tmp_path):
    write_lines(tmp_path / "a.jsonl", [document(1), document(2)])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
    try:
        recipe = recipe_of(tmp_path, sources=[{"name": "a", "files": str(tmp_path / "a.jsonl")}])
        built(recipe, tmp_path / "out")
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_built_corpus_is_not_built_again_and_not_overwritten(tmp_path):
    values = everything(tmp_path)
    recipe = recipe_of(tmp_path, **values)
    built(recipe, tmp_path / "out")
    before = files_of(tmp_path / "out")
    lines: list[str] = []
    build(recipe, tmp_path / "out", workers=1, say=lines.append)
    assert lines == ["corpus test is built, nothing to do"]
    with pytest.raises(RecipeError, match="of another recipe or of files that have changed"):
        build(recipe.model_copy(update={"seed": 1}), tmp_path / "out", workers=1, say=print)
    write_lines(tmp_path / "good.jsonl", [document(9)])
    with pytest.raises(RecipeError, match="of another recipe or of files that have changed"):
        build(recipe, tmp_path / "out", workers=1, say=print)
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize("of", ["another recipe", "an older program"])
def test_leftovers_do_not_get_in(tmp_path, of):
    values = everything(tmp_path)
    built(recipe_of(tmp_path, **values), tmp_path / "whole")
    other = recipe_of(tmp_path, **values | ({"seed": 5} if of == "another recipe" else {}))
    built(other, tmp_path / "out")
    (tmp_path / "out" / "corpus.json").unlink()
    shutil.copytree(tmp_path / "raw", tmp_path / "out" / "work" / "read")
    key = json.loads((tmp_path / "out" / "build.json").read_text())["key"]
    plan = {"key": "other"} if of == "another recipe" else {"key": key}
    (tmp_path / "out" / "work" / "plan.json").write_text(json.dumps(plan))
    done = tmp_path / "out" / "work" / "logs" / "duplicates" / "completions"
    done.mkdir(parents=True)
    (done / "00000").touch()
    built(recipe_of(tmp_path, **values), tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_what_a_killed_build_left_half_written_goes_in_the_end(tmp_path):
    recipe, out = recipe_of(tmp_path, **everything(tmp_path)), tmp_path / "out"
    ours = [
        f"{name}.77.partial"
        for name in ("train-00003.npy", "valid-00000.index.npy", "corpus.html", "corpus.json",
                     "build.json", "timing.json", "ATTRIBUTION.md", "LICENSE-wordnet")
    ]  # fmt: skip
    mine = ("train-images.npy.77.partial", "train-00003.npy.partial", "thesis.partial")
    built(recipe, out)
    (out / "corpus.json").unlink()  # nearly at its end, and killed
    for name in (*ours, *mine):
        (out / name).write_text("half")
    built(recipe, out)
    assert {path.name for path in out.glob("*.partial")} == set(mine)
    (out / ours[0]).write_text("half")
    built(recipe, out)  # it is built, and there is nothing else to do
    assert {path.name for path in out.glob("*.partial")} == set(mine)


@pytest.mark.parametrize("sign", [None, "{}", '{"scripts": {}}', "[]"])
def test_a_folder_of_other_files_is_refused_and_not_touched(tmp_path, sign):
    recipe, out = recipe_of(tmp_path, **everything(tmp_path)), tmp_path / "out"
    (out / "work").mkdir(parents=True)
    for name in ("work/thesis.txt", "train-images.npy", "train-00000.npy"):
        (out / name).write_text("mine")
    if sign is not None:  # a file of that name, and not ours
        (out / "build.json").write_text(sign)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(RecipeError, match=r"out: not empty .* Nothing was touched"):
        build(recipe, out, workers=1, say=print)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_only_shards_are_removed_for_another_recipe(tmp_path):
    values, out = everything(tmp_path), tmp_path / "out"
    built(recipe_of(tmp_path, **values), out)
    (out / "corpus.json").unlink()
    for name in ("train-images.npy", "valid-1.npy", "train-00000.mine.npy"):
        (out / name).write_text("mine")
    (out / "train-00077.npy").write_text("of the build before")
    built(recipe_of(tmp_path, **values | {"seed": 5}), out)
    for name in ("train-images.npy", "valid-1.npy", "train-00000.mine.npy"):
        assert (out / name).read_text() == "mine"
    assert not (out / "train-00077.npy").exists()


def test_a_corpus_is_not_built_inside_its_source(tmp_path):
    write_lines(tmp_path / "texts" / "a.jsonl", [document(1), document(2)])
    out = tmp_path / "texts" / "corpus"
    write_lines(out / "left.jsonl", [document(3)])
    for files in ("texts", "texts/**", "texts/corpus/*.jsonl"):
        recipe = recipe_of(tmp_path, sources=[{"name": "a", "files": str(tmp_path / files)}])
        with pytest.raises(RecipeError, match="Give another --out"):
            build(recipe, out, workers=1, say=print)
    assert [path.name for path in out.iterdir()] == ["left.jsonl"]


def test_two_builds_do_not_share_a_folder(tmp_path):
    recipe = recipe_of(tmp_path, **everything(tmp_path))
    with alone_in(tmp_path / "out"), pytest.raises(RecipeError, match="another build is at work"):
        build(recipe, tmp_path / "out", workers=1, say=print)


def test_an_empty_source_is_refused_or_said(tmp_path):
    values = everything(tmp_path)
    (tmp_path / "nothing.jsonl").write_text("")
    values["sources"].append(
        {"name": "none", "files": str(tmp_path / "nothing.jsonl"), "weight": 0.2}
    )
    values["sources"][0]["weight"] = 0.2
    card = built(recipe_of(tmp_path, **values), tmp_path / "out")
    assert any("Source none: no document is left" in note for note in card["notes"])
    shares = {row["name"]: row["weight"] for row in card["sources"]}
    assert shares == {"good": pytest.approx(0.25), "raw": pytest.approx(0.75), "none": None}
    values["on_error"] = "refuse"
    left = "Source none: no document is left to train on"
    with pytest.raises(DataError, match=f"{left}. Nothing came in. Mend"):
        built(recipe_of(tmp_path, **values), tmp_path / "refused")
    write_lines(tmp_path / "nothing.jsonl", ["", ""])
    with pytest.raises(DataError, match=f"{left}. Documents dropped: 2 by read, .*. Mend"):
        built(recipe_of(tmp_path, **values), tmp_path / "taken")


@pytest.mark.parametrize("files", ["empty", "absent.jsonl", "no/*.jsonl"])
def test_a_source_without_files_is_refused_or_said(tmp_path, files):
    (tmp_path / "empty").mkdir()
    write_lines(tmp_path / "a.jsonl", [document(1), document(2)])
    none = {"name": "none", "files": str(tmp_path / files)}
    values = {"sources": [{"name": "a", "files": str(tmp_path / "a.jsonl")}, none]}
    card = built(recipe_of(tmp_path, **values, on_error="skip"), tmp_path / "out")
    assert any("Source none: no document is left" in note for note in card["notes"])
    with pytest.raises(RecipeError, match="source none: "):
        build(recipe_of(tmp_path, **values), tmp_path / "refused", workers=1, say=print)
    with pytest.raises(RecipeError, match="no source has a file that can be read"):
        only = recipe_of(tmp_path, sources=[none], on_error="skip")
        build(only, tmp_path / "refused", workers=1, say=print)


@pytest.mark.parametrize(
    ("at", "kept", "told"),
    [
        (0, 0, "0 documents that are good"),
        (0, 1, "1 document that is good"),
        (1, 0, "0 documents that are raw"),
    ],
)
def test_a_classifier_with_one_class_is_refused_or_left_out(tmp_path, at, kept, told):
    """All but so many documents of a class go by the rules on quality."""
    kinds = [{"is_good": True}, {"classify": True}]
    sources = [
        {"name": f"s{number}", "files": str(tmp_path / f"{number}.jsonl"), **kind}
        for number, kind in enumerate(kinds)
    ]
    for number in range(2):
        texts = [document(100 * number + n, 12) for n in range(6)]
        short = ["Too short.", "Too short, too."]
        write_lines(tmp_path / f"{number}.jsonl", texts[:kept] + short if number == at else texts)
    values = {"sources": sources, "quality": {}, "classifier": {}}
    card = built(recipe_of(tmp_path, **values, on_error="skip"), tmp_path / "out")
    assert f"The classifier was left out: {told}." in card["notes"]
    assert "classifier" not in [step["step"] for step in card["steps"]]
    assert card["left"] == 6 + kept
    with pytest.raises(DataError, match=f"{told}, and it learns from two"):
        built(recipe_of(tmp_path, **values), tmp_path / "refused")


def test_a_classifier_without_a_good_source_is_refused_before_anything_is_read(tmp_path):
    values = everything(tmp_path)
    values["sources"][0] |= {"is_good": False}
    card = built(recipe_of(tmp_path, **values), tmp_path / "out")
    assert "The classifier was left out: 0 documents that are good." in card["notes"]
    with pytest.raises(ValueError, match="sources with is_good: true, and none has it"):
        recipe_of(tmp_path, **values | {"on_error": "refuse"})


def test_weights_that_do_not_sum_to_one_are_refused_or_divided(tmp_path):
    values = everything(tmp_path)
    values["sources"][0]["weight"] = 0.6
    lines: list[str] = []
    build(recipe_of(tmp_path, **values), tmp_path / "out", workers=1, say=lines.append)
    card = read_card(tmp_path / "out")
    # What was left out or changed is said where the command was given, not on the page alone.
    assert "  note: The weights sum to 1.2, not to 1; each was divided by the sum." in lines
    for step in card["steps"]:
        numbers = [f"{step[key]:,}" for key in ("entered", "dropped", "kept")]
        assert [*step["title"].split(), *numbers] in [line.split() for line in lines]
    assert "The weights sum to 1.2, not to 1; each was divided by the sum." in card["notes"]
    assert [row["weight"] for row in card["sources"]] == [0.5, 0.5]
    with pytest.raises(ValueError, match=r"the weights sum to 1\.2, not to 1"):
        recipe_of(tmp_path, **values | {"on_error": "refuse"})


def test_two_documents_are_the_least(tmp_path):
    for texts, refused in (([document(1)], True), ([document(1)] * 3, True),
                           ([document(1), document(2)], False)):  # fmt: skip
        write_lines(tmp_path / "a.jsonl", texts)
        recipe = recipe_of(tmp_path, sources=[{"name": "a", "files": str(tmp_path / "a.jsonl")}])
        if refused:
            with pytest.raises(DataError, match="1 different documents are left, and at least 2"):
                built(recipe, tmp_path / "out")
        else:
            card = built(recipe, tmp_path / "out2")
            assert card["documents"] == {"train": 1, "valid": 1}


WRONG = {
    "sources: []": "at least 1",
    "sources: [{name: a}]": "either files or a package",
    "sources: [{name: a, files: x, package: y}]": "either files or a package",
    "sources: [{name: a, files: x}, {name: a, files: y}]": "two sources have one name",
    "sources: [{name: a, files: x, weight: 1}, {name: b, files: y}]": "b has no weight and others",
    "sources: [{name: a, files: x, weight: 0.7}]": "the weights sum to 0.7, not to 1",
    "sources: [{name: a, files: x, weight: 1, epochs: 2}]": "a weight or epochs, not both",
    "sources: [{name: a, files: x, classify: true}]": "are for a classifier section",
    "{sources: [{name: a, files: x}], classifier: {}}": "classify: true, and none has it",
    "{sources: [{name: a, files: x}], tokens: 5}": "no source has a weight",
    "{sources: [{name: a, files: x}], duplicates: {nere: 0.8}}": "Did you mean duplicates.near?",
    "sources: [{name: a, files: x, quality: {min_wrds: 3}}]": "sources.0.quality.min_words?",
    "sources: [{name: a, flies: x}]": "no such key. Did you mean sources.0.files?",
    "{sources: [{name: a, files: x}], laguage: {keep: [en]}}": "Did you mean language?",
}


@pytest.mark.parametrize(("text", "told"), WRONG.items(), ids=WRONG)
def test_a_wrong_recipe_names_the_key_and_the_way_out(tmp_path, text, told):
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({"tokenizer": "t"} | yaml.safe_load(text)))
    with pytest.raises(RecipeError) as caught:
        load_corpus_recipe(str(path))
    assert told in str(caught.value) and "wrong.yaml" in str(caught.value)


def test_what_a_recipe_names_must_be_there(tmp_path):
    values = everything(tmp_path)
    for change, told in (
        ({"blocklist": {"file": "no.txt"}}, "no.txt: no such file"),
        ({"decontaminate": {"files": "no.jsonl"}}, "no.jsonl: no such file"),
        ({"toxicity": {"files": "no.jsonl"}}, "toxicity.files: no.jsonl: no such file"),
        (
            {"toxicity": values["toxicity"] | {"harmless": "no.jsonl"}},
            "toxicity.harmless: no.jsonl: no such file",
        ),
        ({"language": {"keep": ["xx"]}}, "no language xx"),
        ({"personal": {"region": "XX"}}, "no region XX"),
        ({"tokenizer": "./no/such"}, "no tokenizer can be read from it|no such folder"),
    ):
        recipe = recipe_of(tmp_path, **values | change)
        with pytest.raises((RecipeError, DataError), match=told):
            build(recipe, tmp_path / "out", workers=1, say=print)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("section", ["decontaminate", "toxicity"])
def test_a_broken_file_of_a_step_is_told_before_a_document_is_read(tmp_path, section):
    """Also where broken rows of sources are skipped: a benchmark unseen is worse than no build."""
    (tmp_path / "broken.jsonl").write_text('{"q": "ok"}\n{broken\n')
    change = {section: {"files": str(tmp_path / "broken.jsonl")}, "on_error": "refuse"}
    if section == "decontaminate":
        change["on_error"] = "skip"
    with pytest.raises(DataError, match=r"broken\.jsonl:"):
        built(recipe_of(tmp_path, **everything(tmp_path) | change), tmp_path / "out")
    assert not (tmp_path / "out" / "work" / "read").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"sources": [{"name": "a", "files": "hf:a/b"}]},
        {"decontaminate": {"files": ["hf:a/b"]}},
        {"toxicity": {"files": ["hf:a/b"]}},
        {"toxicity": {"files": ["examples.jsonl"], "harmless": "hf:a/b"}},
    ],
)
def test_a_hub_without_its_library_is_told_before_anything_runs(tmp_path, monkeypatch, change):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a.jsonl", [document(1), document(2)])
    write_examples(tmp_path / "examples.jsonl")
    values = {"sources": [{"name": "a", "files": "a.jsonl"}]} | change
    with pytest.raises(DataError, match=r"hf:a/b: .* pip install 'preceptor\[hub\]'"):
        build(recipe_of(tmp_path, **values), tmp_path / "out", workers=1, say=print)
    assert not (tmp_path / "out").exists()


def test_a_source_has_its_own_filters_or_none(tmp_path):
    """Short documents, German ones, and English ones; the recipe's rules drop the first two."""
    german = "Der Hund läuft durch den Wald und die Katze schläft auf dem Dach. " * 9
    sources, own = [], {"none": None, "mild": {"min_words": 3}, "same": "recipe"}
    for number, (name, quality) in enumerate(own.items()):
        texts = [f"The house of {number} is in that city.", f"{german}{number}."]
        path = write_lines(tmp_path / f"{name}.jsonl", [*texts, document(number), document(9)])
        sources.append({"name": name, "files": str(path)})
        if quality != "recipe":
            sources[-1] |= {"quality": quality}
    sources[0]["language"] = None
    values = {"sources": sources, "language": {"keep": ["en"]}, "quality": {}}
    recipe = recipe_of(tmp_path, **values)
    again = CorpusRecipe.model_validate(recipe.model_dump(mode="json"))
    assert again == recipe and again.quality_of(again.sources[0]) is None
    assert again.quality_of(again.sources[2]) == recipe.quality
    lines: list[str] = []
    build(again, tmp_path / "out", workers=1, say=lines.append)
    card = read_card(tmp_path / "out")
    [read, language, quality] = card["steps"]
    assert language["kept_by_source"] == {"mild": 3, "same": 3} and language["entered"] == 8
    assert quality["kept_by_source"] == {"mild": 3, "same": 2} and quality["entered"] == 6
    assert sum(card["documents"].values()) == 4 + 3 + 2
    told = ["Language: not a step of none.", "Rules on quality: not a step of none."]
    assert [line.strip() for line in lines if "not a step" in line] == told
    page = (tmp_path / "out" / "corpus.html").read_text()
    assert all(one in page for one in told)
    assert "none.jsonl; language not done; quality not done</dd>" in page
    assert "mild.jsonl; quality min_words 3 ·" in page


def test_filters_of_one_source_alone(tmp_path):
    """As GPT-3 filtered the crawl; the recipe has no such section, and the card says the step."""
    for name in ("book", "crawl"):
        write_lines(tmp_path / f"{name}.jsonl", ["Short.", document(1 + len(name))])
    sources = [{"name": n, "files": str(tmp_path / f"{n}.jsonl")} for n in ("book", "crawl")]
    sources[1]["quality"] = {}
    card = built(recipe_of(tmp_path, sources=sources), tmp_path / "out")
    assert reasons(card, "quality") == {"fewer than min_words": 1}
    assert sum(card["documents"].values()) == 3
    page = (tmp_path / "out" / "corpus.html").read_text()
    assert "quality" not in page.split("<dt>not done</dt>")[1].split("</dd>")[0]
    sources[1]["language"] = {"keep": ["xx"]}
    with pytest.raises(RecipeError, match="no language xx"):
        build(recipe_of(tmp_path, sources=sources), tmp_path / "b", workers=1, say=print)


def test_a_name_means_the_same_tokenizer_as_in_a_run(tmp_path, monkeypatch):
    """`gpt2` and `smollm2` come out of their packages, never from the hub."""
    save_tokenizer(tmp_path / "own")
    own = AutoTokenizer.from_pretrained(tmp_path / "own")
    prepare_tokenizer(own, vocabulary_size=2**31)
    monkeypatch.setattr("preceptor.models.gpt2_tokenizer.gpt2_tokenizer", lambda: own)
    write_lines(tmp_path / "a.jsonl", [document(1), document(2)])
    sources = [{"name": "a", "files": str(tmp_path / "a.jsonl")}]
    card = built(recipe_of(tmp_path, sources=sources, tokenizer="gpt2"), tmp_path / "out")
    assert card["tokenizer"]["name"] == "gpt2"
    assert card["tokenizer"]["sha256"] == fingerprint(own)


def test_a_recipe_is_named_after_its_file_and_keys_can_be_set(tmp_path):
    path = tmp_path / "my web.yaml"
    path.write_text("tokenizer: t\nsources: [{name: a, files: x}]\n")
    recipe = load_corpus_recipe(str(path), ["seed=3", "duplicates.near=0.9"])
    assert isinstance(recipe, CorpusRecipe)
    assert (recipe.name, recipe.seed, recipe.duplicates.near) == ("my-web", 3, 0.9)
    with pytest.raises(RecipeError, match="no such file"):
        load_corpus_recipe("nowhere.yaml")


def test_the_reasons_are_few_and_have_no_numbers_of_one_document(tmp_path):
    """A reason with a number in it would be a class of its own, and the card a list of all."""
    card = built(recipe_of(tmp_path, **everything(tmp_path)), tmp_path / "out")
    for step in ("language", "quality", "classifier"):
        assert all(not any(map(str.isdigit, reason.replace("2 words", "")))
                   for reason in reasons(card, step) if "run of" not in reason)  # fmt: skip
    assert json.loads((tmp_path / "out" / "timing.json").read_text())["steps"]["read"]
