"""Recipes: what is refused and how it is said, inheritance, overrides, and the saved recipe."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.config import Architecture, Recipe
from preceptor.errors import RecipeError
from preceptor.recipes import dump_recipe, list_recipes, load_recipe, validate_recipe
from preceptor.recipes.files import require_files
from preceptor.recipes.summary import stages_of, summary_lines

SMALL: dict[str, Any] = {"model": "some/model", "demonstrations": "demos.jsonl"}


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def message_of(*overrides: str, recipe: str = "miniature") -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(list_recipes()))
def test_built_in_recipes_load_and_say_what_they_are(name: str):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert len(list_recipes()[name]) > 20
    assert f"{name}: ok" in summary_lines(recipe)


def test_miniature_and_smollm2_are_built_in():
    assert {"miniature", "smollm2"} <= set(list_recipes())


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("ppo.kl_coeff", "ppo.kl_coef"),
        ("pretrian", "pretrain"),
        ("model.hidden_sise", "model.hidden_size"),
        ("sft.num_epoch", "sft.num_epochs"),
        ("sft.lora.ranks", "sft.lora.rank"),
        ("seeds", "seed"),
    ],
)
def test_an_unknown_key_gets_the_nearest_valid_name(wrong: str, right: str):
    message = message_of(f"{wrong}=1")
    assert f"miniature.yaml: {wrong}: no such key. Did you mean {right}?" in message


def test_a_key_in_the_wrong_section_is_pointed_to_the_right_one():
    assert "Did you mean ppo.ptx_coef or ppo_ptx.ptx_coef?" in message_of("ptx_coef=1")


@pytest.mark.parametrize(
    "key", ["top_p", "top_k", "repetition_penalty", "min_length", "length_penalty", "entropy_coef"]
)
def test_what_bends_the_distribution_that_is_sampled_is_no_key(key: str):
    """Log-probabilities are kept of the distribution that is drawn from, so nothing may bend it."""
    assert f"miniature.yaml: ppo.{key}: no such key." in message_of(f"ppo.{key}=0.9")


def test_a_key_like_no_other_is_sent_to_the_schema():
    message = message_of("xyzzy=1")
    assert "xyzzy: no such key" in message
    assert "recipe schema" in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("ppo.batch_size=101", "does not divide by num_minibatches"),
        ("model.num_heads=3", "hidden_size 128 does not divide by num_heads 3"),
        ("model.num_kv_heads=3", "does not divide by num_kv_heads"),
        ("pretrain.batch_tokens=4095", "does not divide by sequence_length"),
        ("max_prompt_tokens=2000", "over model.context_length"),
        ("sft.learning_rate=-1", "sft.learning_rate is -1"),
        ("sft.learning_rate=fast", "sft.learning_rate is 'fast'"),
        ("sample.min_responses=1", "sample.min_responses is 1"),
        ("sample.min_responses=9 sample.max_responses=5", "above max_responses 5"),
        ("pretrain=null", "needs a pretrain section"),
        ("corpus=null", "pretrain needs a corpus"),
        ("ppo.reward=mine", "neither reward_model nor a module:function"),
        ("sft.choose_by=reward_model", "go together"),
        ("judge=me", "judge is 'me'"),
        ("seed=-1", "seed is -1"),
        ("seed=1.5", "seed is 1.5"),
        ("model=7", "model is 7"),
        ("sft=7", "sft is 7"),
        ("name=../escape", "name is '../escape'"),
        ("ppo.ema_decay=1", "ppo.ema_decay is 1"),
        ("ppo.num_iterations=3 ppo.value_warmup_iterations=3", "leaves the policy none"),
        ("ppo_ptx.ptx_ratio=0", "ppo_ptx.ptx_ratio is 0"),
        ("sft.adam_beta2=1.0", "sft.adam_beta2 is 1.0"),
        ("num_threads=99999", "num_threads is 99999"),
        ("model.num_heads=128 model.num_kv_heads=128", "is odd; rotary positions turn pairs"),
        ("rank.labels_per_prompt=21", "labels_per_prompt 21 is over num_labelers"),
        ("rank.labels_per_valid_prompt=9", "over num_heldout_labelers"),
        ("ppo_ptx.ptx_sequence_length=4096", "ppo_ptx.ptx_sequence_length 4096 is over"),
        ("demonstrations=mine.jsonl", "an architecture has the miniature's vocabulary, and demon"),
        ("corpus=packages", "an architecture has the miniature's vocabulary, and corpus is pack"),
        ("prompts=p.jsonl", "judge miniature knows the miniature's own prompts only"),
        ("prompts=p.jsonl judge=rubric", "vocabulary, and prompts is p.jsonl"),
        ("rankings=r.jsonl judge=rubric", "vocabulary, and rankings is a file"),
        ("model=m pretrain=null corpus=null ppo_ptx=null ppo.ptx_coef=1", "ppo needs a corpus"),
        ("model=m pretrain=null corpus=null ppo_ptx=null ppo_start={}", "ppo_start needs a corpus"),
        ("ppo_start.ptx_sequence_length=4096", "ppo_start.ptx_sequence_length 4096 is over"),
        ("ppo_start={} ppo=null ppo_ptx=null", "ppo_start is for ppo or ppo_ptx"),
        ("ppo.kl_target=6 ppo.kl_horizon=100", "kl_horizon 100 is below batch_size 128"),
        ("ppo.kl_target=6 ppo.kl_coef=0", "kl_target needs a kl_coef above 0"),
        ("ppo.score_clip=0.5", "score_clip 0.5 is within missing_eos_score -1"),
        ("ppo.reward=http://host:port/", "no address of a service"),
    ],
)
def test_impossible_values_name_key_value_and_rule(override: str, expected: str):
    message = message_of(*override.split())
    assert expected in message
    assert message.startswith("miniature.yaml: ")
    assert message.endswith((".", "?"))


def test_the_suggested_batch_sizes_are_valid():
    message = message_of("ppo.batch_size=101", "ppo.num_minibatches=8")
    numbers = [
        int(word.rstrip(".")) for word in message.split("Try ")[1].replace("or ", "").split()
    ]
    assert len(numbers) == 2
    for number in numbers:
        load_recipe("miniature", [f"ppo.batch_size={number}", "ppo.num_minibatches=8"])


def test_every_problem_is_told_at_once_and_only_once():
    message = message_of("ppo.kl_coeff=1", "seed=-1", "sft.num_epochs=0")
    # ppo_ptx takes the wrong key over from ppo; that is no second mistake.
    assert len(message.splitlines()) == 3


def test_missing_keys_are_named():
    with pytest.raises(RecipeError, match="x.yaml: demonstrations is missing"):
        validate_recipe({"model": "m"}, "x.yaml")


def test_an_unknown_recipe_gets_the_nearest_name():
    assert "Did you mean miniature?" in message_of(recipe="minature")
    assert "Built-in recipes: english-small, miniature" in message_of(recipe="zzz")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: [unclosed\nseed: 1\n", "bad.yaml:2: not YAML"),
        ("- a\n- b\n", "key: value"),
        ("", "key: value"),
        ("just text", "key: value"),
        ("? [1, 2]\n: x\n", "not YAML"),
        ("extends: bad.yaml\n", "extends itself"),
        ("extends: nowhere\n", "nowhere: no such recipe or file"),
        ("!!python/object/apply:os.getcwd []\n", "not YAML"),
    ],
)
def test_a_broken_file_is_explained(tmp_path: Path, text: str, expected: str):
    assert expected in message_of(recipe=write(tmp_path, "bad.yaml", text))


def test_a_file_that_is_not_utf8_is_explained(tmp_path: Path):
    (tmp_path / "bad.yaml").write_bytes(b"name: \xff\xfe\n")
    assert "not UTF-8" in message_of(recipe=str(tmp_path / "bad.yaml"))


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path):
    write(tmp_path, "a.yaml", "extends: b.yaml\n")
    write(tmp_path, "b.yaml", "extends: ./a.yaml\n")
    assert "extends itself" in message_of(recipe=str(tmp_path / "a.yaml"))


def test_extends_merges_sections_and_replaces_values(tmp_path: Path):
    path = write(tmp_path, "mine.yaml", "extends: miniature\nsft: {batch_size: 8}\nseed: 5\n")
    parent, recipe = load_recipe("miniature"), load_recipe(path)
    assert recipe.sft.batch_size == 8
    assert recipe.sft.learning_rate == parent.sft.learning_rate
    assert recipe.seed == 5
    assert recipe.reward == parent.reward


def test_extends_looks_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, "base.yaml", "extends: miniature\nseed: 9\n")
    path = write(tmp_path, "mine.yaml", "extends: base.yaml\n")
    monkeypatch.chdir("/")
    assert load_recipe(path).seed == 9


def test_a_recipe_without_a_name_is_named_after_its_file_not_its_parent(tmp_path: Path):
    path = write(tmp_path, "my own.yaml", "extends: smollm2\n")
    assert load_recipe(path).name == "my-own"
    path = write(tmp_path, "other.yaml", "extends: smollm2\nname: chosen\n")
    assert load_recipe(path).name == "chosen"


def test_own_demonstrations_bring_their_own_prompts(tmp_path: Path):
    path = write(tmp_path, "mine.yaml", "extends: smollm2\ndemonstrations: d.jsonl\n")
    assert load_recipe(path).prompts is None
    text = "extends: smollm2\ndemonstrations: d.jsonl\nprompts: packages\n"
    assert load_recipe(write(tmp_path, "both.yaml", text)).prompts == "packages"
    assert load_recipe(write(tmp_path, "none.yaml", "extends: smollm2\n")).prompts == "packages"


def test_a_model_folder_and_a_file_take_the_place_of_the_built_in_ones(tmp_path: Path):
    text = "extends: smollm2\nmodel: my-model\ndemonstrations: my-demonstrations.jsonl\n"
    recipe = load_recipe(write(tmp_path, "mine.yaml", text))
    assert (recipe.model, recipe.demonstrations) == ("my-model", "my-demonstrations.jsonl")


def test_an_architecture_is_replaced_by_a_name():
    assert load_recipe("miniature", ["model=some/model"]).model == "some/model"
    assert isinstance(load_recipe("miniature").model, Architecture)


def test_ppo_start_takes_sft_s_keys_but_for_the_papers_own():
    recipe = load_recipe(
        "miniature", ["sft.num_epochs=7", "sft.learning_rate=0.01", "ppo_start={}"]
    )
    start = recipe.ppo_start
    assert start is not None
    assert (start.num_epochs, start.ptx_fraction) == (2, 0.1)  # appendix C.3
    assert (start.learning_rate, start.precision) == (0.01, recipe.sft.precision)
    assert load_recipe("miniature").ppo_start is None
    own = load_recipe("miniature", ["ppo_start.num_epochs=3", "ppo_start.learning_rate=0.5"])
    assert own.ppo_start is not None
    assert (own.ppo_start.num_epochs, own.ppo_start.learning_rate) == (3, 0.5)
    wrong = message_of("ppo_start={}", "sft.learning_rate=-1")
    assert len(wrong.splitlines()) == 1  # what was taken over is wrong once


def test_ppo_ptx_starts_from_the_keys_of_ppo():
    recipe = load_recipe("miniature", ["ppo.kl_coef=0.5", "ppo_ptx.ptx_coef=3"])
    assert recipe.ppo is not None
    assert recipe.ppo_ptx is not None
    assert recipe.ppo_ptx.kl_coef == 0.5
    assert (recipe.ppo.ptx_coef, recipe.ppo_ptx.ptx_coef) == (0.0, 3.0)


def test_ppo_ptx_keeps_what_it_took_from_ppo_when_ppo_is_left_out(tmp_path: Path):
    whole = load_recipe("miniature", ["ppo.kl_coef=0.5"])
    without = load_recipe("miniature", ["ppo.kl_coef=0.5", "ppo=null"])
    assert without.ppo is None
    assert without.ppo_ptx is not None
    assert without.ppo_ptx.learning_rate == whole.ppo_ptx.learning_rate  # type: ignore[union-attr]
    child = write(tmp_path, "child.yaml", "extends: miniature\nppo: null\n")
    assert load_recipe(child).ppo_ptx == load_recipe("miniature").ppo_ptx


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("sft.learning_rate=1e-5", 1e-5),
        ("sft.learning_rate=.5e-3", 5e-4),
        ("sft.learning_rate= 0.5", 0.5),
        ("sft.lora={rank: 4}", 4),
        ("sft.lora.rank=4", 4),
        ("sft.loss_on_prompt=true", True),
        ("ppo.missing_eos_score=null", None),
        ("ppo.missing_eos_score=", None),
    ],
)
def test_set_reads_yaml_values(override: str, value: object):
    found: Any = load_recipe("miniature", [override])
    key = override.partition("=")[0]
    for part in key.split("."):
        found = getattr(found, part)
    assert (found.rank if key == "sft.lora" else found) == value


def test_a_key_of_ppo_does_not_add_the_stage_to_a_recipe_without_it():
    message = message_of("ppo.kl_coef=0.05", recipe="smollm2")
    assert "Set ppo_ptx.kl_coef" in message


@pytest.mark.parametrize("override", ["seed", "=3", "seed=[1", ""])
def test_a_malformed_set_is_explained(override: str):
    assert f"--set {override}: " in message_of(override)


def test_the_last_set_wins():
    assert load_recipe("miniature", ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("name", sorted(list_recipes()))
def test_the_saved_recipe_is_the_same_recipe(tmp_path: Path, name: str):
    recipe = load_recipe(name, ["seed=7"])
    path = write(tmp_path, "recipe.yaml", dump_recipe(recipe))
    assert load_recipe(path) == recipe


@settings(max_examples=50, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**40),
            "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True),
            "corpus": st.just("miniature"),
            "sft": st.fixed_dictionaries(
                {},
                optional={"learning_rate": st.floats(1e-12, 10), "num_epochs": st.integers(1, 9)},
            ),
            "ppo": st.fixed_dictionaries({}, optional={"kl_coef": st.floats(0, 5)}),
            "ppo_ptx": st.fixed_dictionaries({}, optional={"gae_lambda": st.floats(0, 1)}),
        },
    )
)
def test_dump_and_load_change_nothing(values: dict[str, Any]):
    recipe = validate_recipe(SMALL | values, "drawn")
    assert validate_recipe(yaml.safe_load(dump_recipe(recipe)), "again") == recipe


def test_stages_follow_the_recipe():
    everything = stages_of(load_recipe("miniature"))
    assert everything[0] == "data"
    assert everything[-1] == "report"
    assert "pretrain" not in stages_of(Recipe(**SMALL))
    assert {"sample", "rank"}.isdisjoint(stages_of(Recipe(**SMALL, rankings="r.jsonl")))
    assert "ppo" not in stages_of(load_recipe("miniature", ["ppo=null"]))


def missing_from(folder: Path, **values: Any) -> list[str]:
    """The lines of what `require_files` finds wrong in a recipe that is right but for `values`."""
    (folder / "model").mkdir()
    write(folder / "model", "config.json", '{"max_position_embeddings": 100}')
    demonstrations = write(folder, "d.jsonl", "{}")
    right = {"model": str(folder / "model"), "demonstrations": demonstrations}
    require_files(Recipe(**right))
    with pytest.raises(RecipeError) as caught:
        require_files(Recipe(**right | values))
    return str(caught.value).splitlines()


def test_every_file_that_is_not_there_is_told_at_once(tmp_path: Path):
    lines = missing_from(
        tmp_path,
        model="./nowhere",
        demonstrations=str(tmp_path),
        prompts="p.jsonl",
        corpus="c.txt",
        rankings="r.jsonl",
        sft={"choose_by": "reward_model", "reward_model": "rm"},
        ppo={"reward": "no_such_module:score"},
    )
    assert len(lines) == 7
    for key in ("model", "demonstrations", "prompts", "corpus", "rankings", "sft.reward_model"):
        assert any(line.startswith(f"run: {key} is ") for line in lines), key
    assert any("no module no_such_module" in line for line in lines)


def test_lengths_must_fit_the_given_model(tmp_path: Path):
    ppo = {"ptx_coef": 1, "ptx_sequence_length": 128}
    corpus = write(tmp_path, "c.txt", "one\n\ntwo")
    lines = missing_from(tmp_path, ppo=ppo, corpus=corpus, max_prompt_tokens=80)
    assert lines == [
        "run: max_prompt_tokens 80 + max_response_tokens 32 is over the model's context of 100. "
        "Lower one of them.",
        "run: ppo.ptx_sequence_length 128 is over the model's context of 100. Lower it.",
    ]


def test_a_folder_without_config_is_no_model_and_a_hub_name_may_be_one(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    [line] = missing_from(tmp_path, model=str(tmp_path / "empty"))
    assert "not a model folder, config.json is missing" in line
    demonstrations = write(tmp_path, "d.jsonl", "{}")
    require_files(Recipe(model="someone/model", demonstrations=demonstrations))


def test_a_library_that_a_file_needs_is_asked_for_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    parquet = write(tmp_path, "p.parquet", "PAR1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    lines = missing_from(tmp_path, demonstrations="hf:org/set@train", prompts=parquet)
    assert [line.partition(": it is read by ")[2] for line in lines] == [
        "pyarrow. pip install 'preceptor[parquet]'",
        "datasets. pip install 'preceptor[hub]'",
    ]


def test_a_format_without_a_file_is_refused():
    with pytest.raises(
        ValueError, match=r"data\.rankings_format is pairs, and rankings is no file"
    ):
        Recipe(**SMALL, data={"rankings_format": "pairs"})
    Recipe(**SMALL, rankings="r.jsonl", data={"rankings_format": "pairs"})


def test_recipes_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_recipe("miniature").seed = 3  # type: ignore[misc]


def test_labels_say_who_ranks_and_where():
    people = load_recipe("miniature", ["labels=people", "label_store=team.db"])
    assert "rankings        people, through team.db" in summary_lines(people)
    store = load_recipe("miniature", ["labels=store"])
    [line] = [line for line in summary_lines(store) if line.startswith("rankings")]
    assert line.endswith("simulated labelers, judge miniature, through labels.db")
    assert "label_store is for labels store or people" in message_of("label_store=x.db")
    assert "people" in message_of("labels=peopel")
    said = message_of("labels=store", "label_store=postgresql://me:secret@host/labels")
    assert "set PGPASSWORD" in said and "secret" not in said


def test_people_are_not_asked_for_what_a_file_has():
    with pytest.raises(ValueError, match="rankings is a file of their answers"):
        Recipe(**SMALL, rankings="r.jsonl", labels="people")
