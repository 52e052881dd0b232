"""The steps around the training: data without leftovers, judgements made once, honest counts."""

import json

import pytest
from toys import tiny_model, tiny_tokenizer

from preceptor.config import Recipe
from preceptor.data.dataset import Judgement
from preceptor.data.records import Prompt
from preceptor.errors import RecipeError
from preceptor.models import save_model
from preceptor.steps.facts import read_alarms
from preceptor.steps.inputs import demonstration_ids
from preceptor.steps.labels import judging_once, make_data
from preceptor.steps.scores import score_function


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path / "model")
    rows = [{"prompt": f"{'a ' * i}b", "response": "c " * (i % 4 + 1)} for i in range(1, 13)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text.txt").write_text("a b c\n\nd e f\n\ng h i")
    return Recipe(
        model=str(tmp_path / "model"),
        demonstrations=str(tmp_path / "d.jsonl"),
        corpus=str(tmp_path / "text.txt"),
    )


def test_what_several_labelers_read_is_judged_once():
    asked = []

    def judge(prompt: Prompt, response: str) -> Judgement:
        asked.append(response)
        return Judgement(len(response) / 10, {})

    once = judging_once(judge)
    scores = [once(Prompt("q"), text).score for text in ("a", "bbb", "a", "a", "bbb")]
    assert scores == [0.1, 0.3, 0.1, 0.1, 0.3]
    assert asked == ["a", "bbb"]


def test_data_of_another_recipe_does_not_stay(recipe, tmp_path):
    """Tokens of another tokenizer, left beside the new data, would be read as this run's text."""
    make_data(recipe, tmp_path / "run")
    tokens = tmp_path / "run" / "data" / "tokens-train.npy"
    assert tokens.is_file()
    make_data(recipe.model_copy(update={"corpus": None}), tmp_path / "run")
    assert not tokens.exists() and not (tmp_path / "run" / "data" / "corpus-train.jsonl").exists()


def test_demonstrations_that_are_too_long_are_counted_aloud(recipe, tmp_path, capsys):
    make_data(recipe, tmp_path / "run")
    short = recipe.model_copy(update={"max_response_tokens": 3})
    prompts, responses = demonstration_ids(short, tmp_path / "run", tiny_tokenizer(), "train")
    path = tmp_path / "run" / "data" / "demonstrations-train.jsonl"
    total = len(path.read_text().splitlines())
    assert 0 < len(prompts) == len(responses) < total
    said = capsys.readouterr().err
    assert f"demonstrations train: {total - len(prompts)} of {total} left out" in said


def test_alarms_are_those_of_the_recipe_s_stages(tmp_path):
    for stage in ("sft", "ppo"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "alarms.jsonl").write_text(json.dumps({"stage": stage}) + "\n")
    assert read_alarms(tmp_path, ["data", "sft", "reward"]) == [{"stage": "sft"}]


def test_a_score_that_is_no_number_is_blamed_on_the_function(recipe, tmp_path, monkeypatch):
    (tmp_path / "nan_reward.py").write_text("def score(prompts, responses): return [1, 1e999 * 0]")
    monkeypatch.syspath_prepend(tmp_path)
    ppo = {"reward": "nan_reward:score"}
    config = Recipe.model_validate(recipe.model_dump() | {"ppo": ppo}).ppo
    assert config is not None
    score = score_function(recipe, config, tmp_path)
    with pytest.raises(RecipeError, match="nan_reward:score gave nan for 'worse'. Every score"):
        score([Prompt("q"), Prompt("q")], [[6], [6]], [[7], [8]], ["better", "worse"])
