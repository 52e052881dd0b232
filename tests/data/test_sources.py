"""One data set from several sources: what is tested is trained on nowhere."""

import gzip
import json

import pytest

from preceptor.config import DataConfig, Recipe
from preceptor.data import files
from preceptor.data.records import Prompt, text_of
from preceptor.data.sources import MEASURING_PARTS, assemble
from preceptor.errors import DataError


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def held_out(dataset):
    return [*dataset.prompts_test, *dataset.prompts_valid]


def trained_on(dataset):
    return [
        *dataset.demonstrations_train,
        *dataset.rankings_train,
        *dataset.prompts_reward_train,
        *dataset.prompts_ppo,
    ]


def recipe_of(folder, users: int) -> Recipe:
    """Three files about the same prompts, each of which is split by itself."""
    rows = [{"prompt": f"p{i}", "user": f"u{i % users}"} for i in range(120)]
    # The same users ask other things elsewhere.
    others = [{"prompt": f"q{i}", "user": f"u{i % users}"} for i in range(120)]
    ranked = {"responses": ["a", "b"], "ranks": [1, 2]}
    return Recipe(
        model="m",
        prompts=write(folder / "p.jsonl", rows),
        demonstrations=write(folder / "d.jsonl", [r | {"response": "x"} for r in rows + others]),
        rankings=write(folder / "r.jsonl", [r | ranked for r in rows + others]),
    )


@pytest.mark.parametrize("users", [1, 40])
def test_no_tested_prompt_is_trained_on_whichever_file_it_is_in(tmp_path, users):
    dataset = assemble(recipe_of(tmp_path, users))
    tested = {text_of(p.prompt) for p in held_out(dataset)}
    assert tested and not tested & {text_of(r.prompt) for r in trained_on(dataset)}
    assert all((dataset.demonstrations_train, dataset.rankings_train, dataset.prompts_ppo))


def test_no_tested_user_is_trained_on_where_the_split_is_by_user(tmp_path):
    dataset = assemble(recipe_of(tmp_path, users=40))
    tested = {p.user for p in held_out(dataset)}
    assert tested and not tested & {r.user for r in trained_on(dataset)}


@pytest.mark.parametrize("own_prompts", [True, False])
@pytest.mark.parametrize("users", [1, 40])
def test_what_measures_or_chooses_is_apart_from_the_test_and_from_training(
    tmp_path, users, own_prompts
):
    recipe = recipe_of(tmp_path, users)
    if not own_prompts:  # as in the README's three lines
        recipe = recipe.model_copy(update={"prompts": None, "rankings": None})
    dataset = assemble(recipe)

    def texts(records):
        return {text_of(r.prompt) for r in records}

    test, trained = texts(dataset.prompts_test), texts(dataset.demonstrations_train)
    assert dataset.demonstrations_valid and not texts(dataset.demonstrations_valid) & test
    assert not texts(dataset.demonstrations_valid) & trained
    measured = texts([*dataset.prompts_reward_valid, *dataset.rankings_valid])
    assert measured and not measured & texts(trained_on(dataset))


def test_a_tested_prompt_is_not_trained_on_as_a_turn(tmp_path):
    """A text and one user turn with that text are one prompt, whichever file has which."""

    def texts(letter):
        return [{"prompt": f"{letter}{i}"} for i in range(120)]

    def turns(letter):
        return [{"prompt": [{"role": "user", "content": f"{letter}{i}"}]} for i in range(120)]

    demonstrated = [*turns("p"), *texts("q"), *turns("q")]
    ranked = {"responses": ["a", "b"], "ranks": [1, 2]}
    dataset = assemble(
        Recipe(
            model="m",
            prompts=write(tmp_path / "p.jsonl", texts("p")),
            demonstrations=write(
                tmp_path / "d.jsonl", [row | {"response": "x"} for row in demonstrated]
            ),
            rankings=write(tmp_path / "r.jsonl", [row | ranked for row in turns("p")]),
        )
    )

    def said(records):
        return {r.prompt if isinstance(r.prompt, str) else r.prompt[0]["content"] for r in records}

    assert held_out(dataset) and not said(held_out(dataset)) & said(trained_on(dataset))
    assert not said(dataset.demonstrations_valid) & said(dataset.demonstrations_train)
    for part in (dataset.demonstrations_train, dataset.rankings_train):
        assert any(isinstance(r.prompt, list) for r in part)  # what is trained on stays turns


def test_demonstrations_alone_are_never_tested_on(tmp_path):
    recipe = recipe_of(tmp_path, users=40)
    dataset = assemble(recipe.model_copy(update={"prompts": None, "rankings": None}))
    tested = {text_of(p.prompt) for p in held_out(dataset)}
    assert not tested & {text_of(r.prompt) for r in trained_on(dataset)}


def test_a_part_of_which_nothing_is_left_is_an_error(tmp_path):
    recipe = recipe_of(tmp_path, users=1)
    tested = [p.prompt for p in held_out(assemble(recipe))]
    rows = [{"prompt": prompt, "response": "x"} for prompt in tested]
    own = write(tmp_path / "own.jsonl", rows)
    with pytest.raises(DataError, match=r"demonstrations_train: all \d+ have a prompt or a user"):
        assemble(recipe.model_copy(update={"demonstrations": own}))


def test_the_miniature_loses_nothing():
    """It keeps its sides apart itself."""
    sizes = {"corpus_tokens": 2000, "num_demonstrations": 300, "num_reward_prompts": 300}
    sizes |= {"num_ppo_prompts": 300, "num_valid_prompts": 100, "num_test_prompts": 300}
    recipe = Recipe(
        model="m", prompts="miniature", demonstrations="miniature", judge="miniature", data=sizes
    )
    dataset = assemble(recipe)
    assert len(dataset.demonstrations_train) == len(dataset.prompts_ppo) == 300
    assert isinstance(dataset.prompts_test[0], Prompt)


def test_files_of_other_tools_are_read_as_they_are(tmp_path):
    alpaca = [{"instruction": f"q{i}", "input": "", "output": f"a{i}"} for i in range(80)]
    pairs = [{"prompt": f"r{i}", "chosen": "x", "rejected": "y"} for i in range(40)]
    for name, rows in (("d.jsonl.gz", [*alpaca, {"instruction": "q"}]), ("r.jsonl.gz", pairs)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name).write_bytes(gzip.compress(lines.encode()))
    recipe = Recipe(
        model="m",
        demonstrations=str(tmp_path / "d.jsonl.gz"),
        rankings=str(tmp_path / "r.jsonl.gz"),
        data={"on_error": "skip", "demonstrations_format": "alpaca"},
    )
    dataset = assemble(recipe)
    asked = {d.prompt for d in (*dataset.demonstrations_train, *dataset.demonstrations_valid)}
    tested = {p.prompt for p in (*dataset.prompts_test, *dataset.prompts_reward_valid)}
    assert asked | tested == {f"q{i}" for i in range(80)}
    assert len(dataset.rankings_train) + len(dataset.rankings_valid) == 40
    [note] = dataset.notes
    assert "1 left out" in note and '"output" is missing' in note
    with pytest.raises(DataError, match='d.jsonl.gz:81: "output" is missing'):
        assemble(recipe.model_copy(update={"data": DataConfig()}))
    wrong = recipe.model_copy(update={"data": DataConfig(demonstrations_format="messages")})
    with pytest.raises(DataError, match="messages needs the keys messages"):
        assemble(wrong)


def test_what_only_measures_gets_enough_of_every_file_and_the_rest_is_told(tmp_path, monkeypatch):
    """Of each file by forty users, whose records are more than enough; all but these are used."""
    monkeypatch.setattr(files, "MOST_HELD_OUT", 5)
    recipe = recipe_of(tmp_path, users=40)
    dataset = assemble(recipe)
    for name in MEASURING_PARTS:
        assert 0 < len(getattr(dataset, name)) <= 5, name
        [told] = [note for note in dataset.notes if f" {name} left out" in note]
        assert told.endswith("5 are enough to measure by")
    assert len(dataset.notes) == len(MEASURING_PARTS)
    assert min(len(dataset.rankings_train), len(dataset.prompts_ppo)) > 20
    alone = assemble(recipe.model_copy(update={"prompts": None, "rankings": None}))
    tested = {p.prompt for p in held_out(alone)}
    assert len(alone.demonstrations_train) > 150, "what measures nothing is trained on"
    assert not tested & {d.prompt for d in alone.demonstrations_train}


def test_one_file_may_be_named_for_prompts_and_for_demonstrations(tmp_path):
    recipe = recipe_of(tmp_path, users=40)
    dataset = assemble(recipe.model_copy(update={"prompts": recipe.demonstrations}))
    assert len(dataset.demonstrations_train) > 100 and len(dataset.prompts_ppo) > 50
    assert dataset.demonstrations_valid and dataset.prompts_valid
