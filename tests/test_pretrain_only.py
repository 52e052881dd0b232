"""A recipe without demonstrations ends with a model that continues text, its tokenizer its own."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from preceptor.cli import app
from preceptor.errors import RecipeError
from preceptor.models.load import load_policy, load_tokenizer
from preceptor.models.tokenizers import encode_text, text_of_ids
from preceptor.recipes import load_recipe, validate_recipe
from preceptor.recipes.files import require_files
from preceptor.recipes.summary import stages_of, summary_lines

RECIPE = {
    "name": "small",
    "num_threads": 1,
    "tokenizer": {"vocabulary_size": 300},
    "model": {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1},
    "demonstrations": None,
    "pretrain": {
        "num_tokens": 16384,
        "batch_tokens": 1024,
        "sequence_length": 64,
        "num_valid_sequences": 8,
        "learning_rate": 0.01,
        "eval_every": 4,
        "checkpoint_every": 4,
    },
}


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def documents() -> list[dict[str, str]]:
    animals = ("fox", "hen", "owl", "cat", "dog", "cow", "elk", "bee")
    places = ("river", "wood", "field", "hill", "pond")
    tales = [
        {"text": f"The {a} met the {b} by the {c}. They spoke of the weather.", "source": "tales"}
        for a in animals
        for b in animals
        for c in places
    ]
    lists = [
        {"text": f"{c} {number}: {a}, {b}.", "source": "lists"}
        for a in animals
        for b in animals
        for number, c in enumerate(places)
    ]
    return tales + lists


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pretrain_only")
    lines = (json.dumps(row) + "\n" for row in documents())
    (made / "corpus.jsonl").write_text("".join(lines))
    recipe = RECIPE | {"corpus": str(made / "corpus.jsonl")}
    (made / "small.yaml").write_text(yaml.safe_dump(recipe))
    result = invoke("run", made / "small.yaml", "--out", made / "run")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{made}/run/report.html\n"
    return made


def test_it_has_no_other_stage(folder: Path):
    recipe = load_recipe(str(folder / "small.yaml"))
    assert stages_of(recipe) == ["data", "pretrain", "report"]
    told = "\n".join(summary_lines(recipe))
    assert "a new one of 300 tokens" in told
    assert "demonstrations" not in told and "rankings" not in told
    result = invoke("sft", folder / "small.yaml", "--out", folder / "run")
    assert result.exit_code == 2
    assert "it has no step sft. It has data, pretrain, report." in result.output


def test_it_learned_and_says_how_well_on_which_text(folder: Path):
    rows = rows_of(folder / "run/pretrain/metrics.jsonl")
    assert rows[-1]["pretrain/valid_loss"] < 0.7 * rows[0]["pretrain/loss"]
    summary = json.loads((folder / "run/pretrain/done.json").read_text())["summary"]
    assert set(summary["held_out"]) == {"all", "tales", "lists"}
    assert summary["held_out"]["all"]["loss"] == pytest.approx(summary["valid_loss"], abs=1e-5)
    for found in summary["held_out"].values():
        assert 0 < found["bits_per_byte"] < found["loss"] / 0.69  # a token has a byte or more


def test_its_samples_go_on_with_held_out_text(folder: Path):
    rows = rows_of(folder / "run/pretrain/samples.jsonl")
    held_out = [row["text"] for row in rows_of(folder / "run/data/corpus-valid.jsonl")]
    trained = [row["text"] for row in rows_of(folder / "run/data/corpus-train.jsonl")]
    assert {row["source"] for row in rows} == {"tales", "lists"}
    for row in rows:
        assert row["prompt"] and any(text.startswith(row["prompt"]) for text in held_out)
        assert row["response"]
    assert not set(held_out) & set(trained)


def test_the_tokenizer_is_its_own_and_travels_with_the_model(folder: Path):
    policy, tokenizer = load_policy(folder / "run/pretrain/model")
    own = load_tokenizer(folder / "run/data/tokenizer", 2**31)
    assert len(tokenizer) == len(own) == policy.get_input_embeddings().num_embeddings == 300
    text = "The fox met Zoë by the 湖."
    assert encode_text(tokenizer, text) == encode_text(own, text)
    assert text_of_ids(tokenizer, encode_text(tokenizer, text)) == text
    assert len(encode_text(tokenizer, " weather")) == 1


def test_the_report_tells_of_nothing_else(folder: Path):
    page = (folder / "run/report.html").read_text()
    assert "parameters that continues text" in page
    assert "How it goes on" in page and "bits a byte" in page
    for absent in ("Reward model", "Reinforcement learning", "alignment cost", "no evaluation yet"):
        assert absent not in page


def test_chat_goes_on_with_the_text_itself(folder: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    from preceptor.generation import engine

    encode = engine.encode_prompt
    monkeypatch.setattr(
        engine,
        "encode_prompt",
        lambda tokenizer, messages: asked.append(encode(tokenizer, messages)) or asked[-1],
    )
    result = CliRunner().invoke(app, ["chat", str(folder / "run")], input="The fox met the\n")
    assert result.exit_code == 0, result.output
    tokenizer = load_tokenizer(folder / "run/pretrain/model", 2**31)
    assert asked == [encode_text(tokenizer, "The fox met the")]


def test_a_second_run_does_nothing_but_the_report(folder: Path):
    before = {p: p.stat().st_mtime_ns for p in (folder / "run").rglob("*") if p.is_file()}
    assert invoke("run", folder / "small.yaml", "--out", folder / "run").exit_code == 0
    changed = {
        p.name
        for p in (folder / "run").rglob("*")
        if p.is_file() and before.get(p) != p.stat().st_mtime_ns
    }
    assert changed <= {"report.html", "recipe.yaml", "timing.json"}


def test_another_vocabulary_is_another_run(folder: Path, tmp_path: Path):
    from preceptor.pipeline import input_hash

    recipe = load_recipe(str(folder / "small.yaml"))
    other = load_recipe(str(folder / "small.yaml"), ["tokenizer.vocabulary_size=301"])
    for step in ("data", "pretrain"):
        assert input_hash(recipe, tmp_path, step) != input_hash(other, tmp_path, step)


def test_it_goes_on_to_sft_when_demonstrations_are_named(folder: Path):
    rows = [
        {"prompt": f"Where does the {a} live?", "response": f"By the {b}.", "user": f"user-{i}"}
        for i, (a, b) in enumerate((a, b) for a in ("fox", "owl", "elk") for b in ("river", "pond"))
    ]
    rows = [
        row | {"prompt": f"{row['prompt']} {n}", "user": f"{n}"} for n in range(10) for row in rows
    ]
    (folder / "demos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "extends": str(folder / "small.yaml"),
        "name": "more",
        "demonstrations": str(folder / "demos.jsonl"),
        "sft": {"num_epochs": 1, "batch_size": 8},
    }
    (folder / "more.yaml").write_text(yaml.safe_dump(recipe))
    for stage in ("pretrain", "sft"):
        result = invoke(stage, folder / "more.yaml", "--out", folder / "more")
        assert result.exit_code == 0, result.output
    _, tokenizer = load_policy(folder / "more/sft/model")
    assert len(tokenizer) == 300


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"pretrain": None}, "neither demonstrations nor a pretrain section"),
        ({"ppo": {}}, "ppo comes after demonstrations, and they are null"),
        ({"prompts": "p.jsonl"}, "prompts comes after demonstrations"),
        ({"tokenizer": "miniature"}, "an architecture has the miniature's vocabulary, and corpus"),
        ({"tokenizer": {"vocabulary_size": 100}}, "tokenizer.vocabulary_size is 100"),
        ({"tokenizer": {"vocabularysize": 300}}, "Did you mean tokenizer.vocabulary_size?"),
        ({"model": "some/model"}, "tokenizer is for a model of random weights"),
        ({"data": {"mixture": {"wordnet": 1}}}, "data.mixture is of the packages' texts"),
        ({"corpus": "packages", "data": {"mixture": {"wordnett": 1}}}, "data.mixture.wordnett"),
        ({"corpus": "packages", "data": {"mixture": {"wordnet": 0}}}, "data.mixture.wordnet is 0"),
        ({"corpus": "packages", "data": {"mixture": {}}}, "data.mixture is {}"),
        ({"tokenizer": "./nowhere"}, "tokenizer is ./nowhere: no such folder"),
    ],
)
def test_what_does_not_fit_is_told(folder: Path, tmp_path: Path, change: dict, expected: str):
    (tmp_path / "wrong.yaml").write_text(
        yaml.safe_dump(RECIPE | {"corpus": str(folder / "corpus.jsonl")} | change)
    )
    result = invoke("recipe", "check", tmp_path / "wrong.yaml")
    assert result.exit_code == 2
    assert expected in result.output


def test_a_tokenizer_that_was_made_before_is_taken(folder: Path, tmp_path: Path):
    made = invoke(
        *("data", "tokenizer", folder / "corpus.jsonl", "--out", tmp_path / "tokenizer"),
        *("--vocabulary-size", 280),
    )
    assert made.exit_code == 0, made.output
    assert made.stdout == f"280 tokens  {tmp_path}/tokenizer\n"
    again = invoke("data", "tokenizer", folder / "corpus.jsonl", "--out", tmp_path / "tokenizer")
    assert again.exit_code == 2 and "there is something in it" in again.output
    taken = invoke(
        *("data", "tokenizer", "--model", folder / "run/pretrain/model"), *("--out", tmp_path / "b")
    )
    assert taken.stdout == f"300 tokens  {tmp_path}/b\n"
    result = invoke(
        *("pretrain", folder / "small.yaml", "--out", tmp_path / "run"),
        *("--set", f"tokenizer={tmp_path}/tokenizer", "--set", "pretrain.num_tokens=2048"),
    )
    assert result.exit_code == 0, result.output
    assert load_policy(tmp_path / "run/pretrain/model")[0].config.vocab_size == 280


def test_a_tokenizer_needs_files_or_a_model():
    result = invoke("data", "tokenizer")
    assert result.exit_code == 2
    assert "name FILES" in result.output


def test_lengths_of_prompts_are_no_matter_where_there_are_none(tmp_path: Path):
    (tmp_path / "corpus.jsonl").write_text('{"text": "A text."}\n')
    short = RECIPE["model"] | {"context_length": 64}
    own = RECIPE | {"corpus": str(tmp_path / "corpus.jsonl"), "model": short}
    lengths = {"max_prompt_tokens": 60, "max_response_tokens": 60}
    recipe = validate_recipe(own | lengths, "own")
    require_files(recipe)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"max_position_embeddings": 64}')
    named = own | lengths | {"model": str(tmp_path / "model"), "tokenizer": None}
    require_files(validate_recipe(named, "named"))
    (tmp_path / "d.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    asked = {"demonstrations": str(tmp_path / "d.jsonl"), "judge": "rubric", "pretrain": None}
    with pytest.raises(RecipeError, match="is over the model's context of 64"):
        require_files(validate_recipe(named | asked, "asked"))


def test_a_built_corpus_has_its_tokenizer_already(tmp_path: Path):
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / "corpus.json").write_text("{}")
    own = RECIPE | {"corpus": str(tmp_path / "built")}
    with pytest.raises(RecipeError, match="tokenized already, and tokenizer would train another"):
        require_files(validate_recipe(own, "own"))
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "tokenizer.json").write_text("{}")
    require_files(validate_recipe(own | {"tokenizer": str(tmp_path / "t")}, "own"))


def test_a_recipe_of_a_corpus_is_sent_to_the_command_that_builds_it(tmp_path: Path):
    path = tmp_path / "web.yaml"
    path.write_text("tokenizer: t\nsources: [{name: a, files: x}]\n")
    result = invoke("recipe", "check", path)
    assert result.exit_code == 2
    assert f"`preceptor corpus build {path}`" in result.stderr
