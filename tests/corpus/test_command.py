"""The command a person types, and a run that takes what it built."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from corpora import document, recipe_of, save_tokenizer, write_lines
from pydantic import BaseModel
from toys import tiny_model
from transformers import AutoTokenizer
from typer.main import get_command
from typer.testing import CliRunner

from preceptor.cli import app
from preceptor.config import Recipe
from preceptor.corpus.build import require
from preceptor.corpus.card import STEPS
from preceptor.corpus.pieces import plan_pieces
from preceptor.corpus.recipe import (
    BUILT_IN,
    ClassifierConfig,
    CorpusRecipe,
    DecontaminateConfig,
    load_corpus_recipe,
)
from preceptor.data.batching import open_sequences
from preceptor.errors import DataError, RecipeError
from preceptor.models import save_model
from preceptor.recipes.documentation import key_table
from preceptor.recipes.files import require_files
from preceptor.stages.pretrain import run_pretrain
from preceptor.steps.labels import make_data
from preceptor.training.folder import StageFolder


@pytest.fixture
def built_folder(tmp_path: Path) -> Path:
    write_lines(tmp_path / "a.jsonl", [document(n, 6) for n in range(40)])
    recipe = recipe_of(
        tmp_path,
        sources=[{"name": "a", "files": str(tmp_path / "a.jsonl")}],
        valid_fraction=0.2,
        shard_tokens=4000,
    )
    path = tmp_path / "corpus.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)))
    words = ["corpus", "build", str(path), "--out", str(tmp_path / "built"), "--workers", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "built" / "corpus.html")
    return tmp_path / "built"


def test_wrong_input_ends_with_a_message_and_status_2(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("tokenizer: t\nsources: [{name: a, files: nowhere.jsonl}]\n")
    done = CliRunner().invoke(app, ["corpus", "build", str(path), "--out", str(tmp_path / "o")])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: source a: nowhere.jsonl: no such file.")
    done = CliRunner().invoke(app, ["corpus", "build", str(path), "--set", "sede=1"])
    assert done.exit_code == 2 and "Did you mean seed?" in done.stderr


MEASURED = """
import sys
from preceptor.cli import main
try:
    main()
finally:  # not getrusage: its peak begins with that of the process that started this one
    status = open("/proc/self/status").read()
    print(status.split("VmHWM:")[1].split()[0], file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.json", "a.csv"])
def test_a_line_of_a_gigabyte_is_counted_under_its_reason_and_never_held(tmp_path, name):
    kind = name[2:]
    first, last = (json.dumps({"text": document(n)}) for n in (1, 2))
    begun = '{"text": "'
    head, tail = {
        "jsonl": (f"{first}\n{begun}", f'"}}\n{last}\n'),
        "txt": (f"{document(1)}\n\n", f"\n\n{document(2)}\n"),
        "json": (f"[{first}, {begun}", f'"}}, {last}]'),
        "csv": (f"text\n{document(1)}\n", f"\n{document(2)}\n"),
    }[kind]
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / name).open("w") as file:
        file.write(head)
        for _ in range(1024):
            file.write("x" * 2**20)
        file.write(tail)
    write_lines(tmp_path / "in" / "b.jsonl", [document(3)])
    sources = [{"name": "s", "files": str(tmp_path / "in")}]
    recipe = recipe_of(tmp_path, sources=sources, on_error="skip")
    path = tmp_path / "corpus.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)))
    words = ["corpus", "build", str(path), "--out", str(tmp_path / "built"), "--workers", "1"]
    done = subprocess.run([sys.executable, "-c", MEASURED, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [read, *_] = json.loads((tmp_path / "built" / "corpus.json").read_text())["steps"]
    [reason] = read["reasons"]
    assert reason["documents"] == 1 and "over 64 MiB" in reason["reason"]
    # In a list and in a table nothing after it is read, for nobody knows where it would go on.
    assert read["kept"] == (3 if kind in ("jsonl", "txt") else 2)
    assert int(done.stderr.split()[-1]) < 900 * 1024  # 402 MB of them are libraries


def run_recipe(tmp_path: Path, corpus: str) -> Recipe:
    """A recipe of a tiny model with the tokenizer of the tests."""
    model = tiny_model("llama")
    model.resize_token_embeddings(258)
    save_model(
        model, AutoTokenizer.from_pretrained(save_tokenizer(tmp_path / "t")), tmp_path / "model"
    )
    rows = [{"prompt": f"{'a' * i}b", "response": "c " * (i % 4 + 1)} for i in range(1, 13)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Recipe.model_validate(
        {
            "model": str(tmp_path / "model"),
            "demonstrations": str(tmp_path / "d.jsonl"),
            "corpus": corpus,
            "max_prompt_tokens": 48,
            "max_response_tokens": 16,
            "pretrain": {
                "num_tokens": 2048,
                "batch_tokens": 256,
                "sequence_length": 32,
                "num_valid_sequences": 4,
                "eval_every": 4,
                "precision": "fp32",
            },
        }
    )


def metrics(recipe: Recipe, tmp_path: Path, name: str, train, valid) -> str:
    """The metrics of pretraining on these sequences."""
    from preceptor.models.load import load_policy

    policy, tokenizer = load_policy(recipe.model)
    folder = StageFolder(tmp_path / name, "pretrain", name)
    assert recipe.pretrain is not None
    run_pretrain(
        recipe.pretrain,
        folder,
        policy=policy,
        tokenizer=tokenizer,
        train=train,
        valid=valid,
        valid_by_source={},
        begun=[],
        seed=0,
    )
    return (tmp_path / name / "metrics.jsonl").read_text()


def test_a_run_trains_on_the_shards_as_on_their_documents(tmp_path, built_folder):
    """Metrics of pretraining on the shards are those on one packed array, byte for byte."""
    recipe = run_recipe(tmp_path, str(built_folder))
    require_files(recipe)
    make_data(recipe, tmp_path / "run")
    data = tmp_path / "run" / "data"
    assert not list(data.glob("tokens-*.npy"))  # nothing is copied
    text = {part: open_sequences(data / f"tokens-{part}.json", 32) for part in ("train", "valid")}
    card = json.loads((built_folder / "corpus.json").read_text())
    assert len(card["shards"]["train"]) > 1
    whole = {}
    for part in ("train", "valid"):
        streams = [np.load(built_folder / shard["file"]) for shard in card["shards"][part]]
        stream = np.concatenate(streams).astype(np.int32)
        whole[part] = stream[: len(stream) // 32 * 32].reshape(-1, 32)
    on_shards = metrics(recipe, tmp_path, "a", text["train"], text["valid"])
    on_array = metrics(recipe, tmp_path, "b", whole["train"], whole["valid"])
    assert on_shards == on_array and '"pretrain/valid_loss"' in on_shards


def test_a_run_with_another_tokenizer_is_refused(tmp_path, built_folder):
    recipe = run_recipe(tmp_path, str(built_folder))
    card = json.loads((built_folder / "corpus.json").read_text())
    card["tokenizer"]["sha256"] = "other"
    (built_folder / "corpus.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match="this run's model reads other ids"):
        make_data(recipe, tmp_path / "run")


def test_a_damaged_shard_is_refused_by_a_run_and_by_the_command(tmp_path, built_folder):
    done = CliRunner().invoke(app, ["corpus", "check", str(built_folder)])
    card = json.loads((built_folder / "corpus.json").read_text())
    total = sum(card["tokens"].values())
    assert done.exit_code == 0 and f"{total:,} tokens" in done.stdout
    shard = built_folder / card["shards"]["valid"][0]["file"]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    recipe = run_recipe(tmp_path, str(built_folder))
    with pytest.raises(DataError, match=rf"{shard.name}: sha256"):
        make_data(recipe, tmp_path / "run")
    assert not list((tmp_path / "run" / "data").glob("tokens-*"))
    done = CliRunner().invoke(app, ["corpus", "check", str(built_folder)])
    assert done.exit_code == 2 and f"{shard.name}: sha256" in done.stderr
    assert done.stdout == ""


def test_a_folder_that_is_not_built_to_its_end_is_refused(tmp_path, built_folder):
    recipe = run_recipe(tmp_path, str(built_folder))
    (built_folder / "corpus.json").unlink()
    with pytest.raises(ValueError, match="a folder. It must be one file or a corpus that is built"):
        require_files(recipe)


def test_another_corpus_in_the_same_folder_is_another_input(tmp_path, built_folder):
    from preceptor.pipeline import input_hash

    recipe = run_recipe(tmp_path, str(built_folder))
    before = input_hash(recipe, tmp_path / "run", "data")
    card = json.loads((built_folder / "corpus.json").read_text())
    (built_folder / "corpus.json").write_text(json.dumps(card | {"sha256": "other"}))
    assert input_hash(recipe, tmp_path / "run", "data") != before


PAGE = (Path(__file__).parents[2] / "docs" / "corpus.md").read_text(encoding="utf-8")


def models_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for option in (field.annotation, *get_args(field.annotation)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                yield from models_of(option)


def test_every_key_is_on_the_page_as_the_recipe_has_it():
    """Type, bounds, default and meaning, section by section."""
    models = set(models_of(CorpusRecipe))
    assert len(models) == 11
    for model in models:
        assert "\n".join(key_table("", model)[2:]) in PAGE, model.__name__


def test_the_page_s_recipe_is_valid():
    _, block = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    recipe = CorpusRecipe.model_validate(yaml.safe_load(block))
    sections = {name for name, value in recipe if value is not None}
    assert sections == set(CorpusRecipe.model_fields)  # every one is shown
    assert recipe.classifier is not None and recipe.classifier.alpha == 9
    # A book of 150,000 words in one file is neither over max_chars nor asked by rules for pages.
    for source in recipe.sources:
        if source.whole_files:
            assert recipe.quality_of(source) is None and recipe.max_chars > 150_000 * 6
            assert recipe.language_of(source) is not None
        else:
            assert recipe.quality_of(source) is not None


def test_what_is_built_in_runs_on_packages_and_is_on_the_page():
    """No file of one's own is needed, and each source is a set that a corpus can read."""
    shown, _ = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert shown == (BUILT_IN / "small-english.yaml").read_text(encoding="utf-8")
    assert "preceptor corpus build small-english " in PAGE
    for path in BUILT_IN.glob("*.yaml"):
        recipe = load_corpus_recipe(path.stem, ["valid_fraction=0.02"])
        assert recipe.name == path.stem and recipe.valid_fraction == 0.02
        require(recipe)
        assert all(source.package is not None for source in recipe.sources)
        assert len(plan_pieces(recipe)[0]) == len(recipe.sources)
    with pytest.raises(RecipeError, match="nowhere: no such file.* built in: small-english"):
        load_corpus_recipe("nowhere")


def test_the_commands_of_the_page_are_taken_by_the_command_line():
    lines = [line for line in PAGE.splitlines() if line.startswith("preceptor corpus ")]
    assert len(lines) >= 3
    for line in lines:
        _, *words = shlex.split(line, comments=True)
        command = get_command(app)
        context = command.make_context("preceptor", list(words), resilient_parsing=True)
        group = command.get_command(context, words[0])
        group.get_command(context, words[1]).make_context(words[1], words[2:])


def test_every_step_of_the_card_is_on_the_page():
    assert not [step for step in STEPS if f"| `{step}` |" not in PAGE]


def test_the_paper_s_values_are_the_defaults():
    cut = DecontaminateConfig(files=["x"])
    assert (cut.run, cut.window_chars, cut.min_piece_chars) == (13, 200, 200)
    assert (cut.max_pieces, cut.max_documents) == (10, 10)
    assert (ClassifierConfig().alpha, ClassifierConfig().num_features) == (9, 262_144)
