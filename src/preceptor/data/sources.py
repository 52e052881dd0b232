"""Where a run's data comes from: the miniature, the embedded packages, files, or a mixture."""

import dataclasses

from preceptor.config import Recipe
from preceptor.data import files
from preceptor.data.dataset import Dataset
from preceptor.data.mixture import make_mixture
from preceptor.data.records import compared_text
from preceptor.data.shards import is_built
from preceptor.errors import DataError, RecipeError

GENERATED = ("miniature", "packages")
TRAINING_PARTS = ("demonstrations_train", "rankings_train", "prompts_reward_train", "prompts_ppo")


def assemble(recipe: Recipe) -> Dataset:
    """The data set of a recipe; each kind comes from the source that the recipe names for it."""
    sources = {name: _generate(name, recipe) for name in _named(recipe)}
    fields: dict[str, object] = {}
    notes: list[str] = []

    def reading(part: str) -> files.Reading:
        named = getattr(recipe.data, f"{part}_format", None)
        return files.Reading(named, recipe.data.on_error, notes)

    def take(source: str, *names: str) -> None:
        fields.update({name: getattr(sources[source], name) for name in names})

    if recipe.data.mixture is not None:
        mixed = make_mixture(dict(recipe.data.mixture), recipe.seed)
        fields["corpus_train"], fields["corpus_valid"] = mixed.train, mixed.valid
        notes += mixed.notes()
    elif recipe.corpus in GENERATED:
        take(recipe.corpus, "corpus_train", "corpus_valid", "tasks")
    elif recipe.corpus and not is_built(recipe.corpus):
        documents = files.read_documents(recipe.corpus, reading=reading("corpus"))
        fields["corpus_train"], fields["corpus_valid"] = documents

    if recipe.demonstrations is None:
        pass
    elif recipe.demonstrations in GENERATED:
        take(recipe.demonstrations, "demonstrations_train", "demonstrations_valid")
    else:
        train, valid = files.read_demonstrations(recipe.demonstrations, reading("demonstrations"))
        fields["demonstrations_train"], fields["demonstrations_valid"] = train, valid

    prompts = recipe.prompts or recipe.demonstrations
    prompt_fields = [f"prompts_{split.name}" for split in files.PROMPT_SPLITS]
    if prompts in GENERATED:
        take(prompts, *prompt_fields)
    elif recipe.demonstrations is not None:
        if recipe.prompts:
            parts = files.read_prompts(recipe.prompts, reading("prompts"))
        else:
            parts = files.prompts_of([*train, *valid], recipe.demonstrations)
            # The same prompts choose checkpoints in every stage; those of the test choose nothing.
            chosen = {compared_text(p.prompt) for p in parts["valid"]}
            fields["demonstrations_train"] = [*train, *valid]
            fields["demonstrations_valid"] = [
                d for d in (*train, *valid) if compared_text(d.prompt) in chosen
            ]
        fields.update({f"prompts_{name}": part for name, part in parts.items()})

    if recipe.rankings:
        rankings = files.read_rankings(recipe.rankings, reading("rankings"))
        fields["rankings_train"], fields["rankings_valid"] = rankings
    fields["notes"] = notes
    told = [source.attribution for source in sources.values() if source.attribution]
    if recipe.data.mixture is not None:
        told.append(mixed.attribution())
    fields["attribution"] = "\n".join(told)
    return without_tested(dataclasses.replace(Dataset(), **fields))  # type: ignore[arg-type]


def without_tested(dataset: Dataset) -> Dataset:
    """Leave out of all training what is tested or chooses checkpoints: prompts, and their users.

    Sources are split each by itself, so one file's test prompt may be another's demonstration.
    Users count where the prompts were split by user. The prompts on which the reward model is
    measured are left out too, and the test's prompts of what chooses an epoch of SFT.

    Raises:
        DataError: nothing is left of a part.
    """
    held_out = (*dataset.prompts_test, *dataset.prompts_valid)
    prompts = {compared_text(p.prompt) for p in (*held_out, *dataset.prompts_reward_valid)}
    prompts |= {compared_text(r.prompt) for r in dataset.rankings_valid}
    users = {p.user for p in held_out if p.user}
    if users & {p.user for p in (*dataset.prompts_reward_train, *dataset.prompts_ppo)}:
        users = set()  # too few users to split by
    refused: dict[str, tuple[set[str], set[str]]] = dict.fromkeys(TRAINING_PARTS, (prompts, users))
    refused["demonstrations_valid"] = (
        {compared_text(p.prompt) for p in dataset.prompts_test},
        set(),
    )
    kept: dict[str, object] = {}
    for name, (not_prompts, not_users) in refused.items():
        records = getattr(dataset, name)
        left = [
            r
            for r in records
            if compared_text(r.prompt) not in not_prompts and r.user not in not_users
        ]
        if records and not left:
            raise DataError(
                f"{name}: all {len(records)} have a prompt or a user that is tested. Give prompts "
                "or users that differ from those of the training data."
            )
        kept[name] = left
    return dataclasses.replace(dataset, **kept)  # type: ignore[arg-type]


def _named(recipe: Recipe) -> list[str]:
    corpus = None if recipe.data.mixture is not None else recipe.corpus
    wanted = {corpus, recipe.prompts, recipe.demonstrations}
    return [name for name in GENERATED if name in wanted]


def _generate(name: str, recipe: Recipe) -> Dataset:
    sizes = recipe.data
    if name == "miniature":
        from preceptor.miniature import make_miniature

        return make_miniature(
            seed=recipe.seed,
            corpus_tokens=sizes.corpus_tokens,
            num_demonstrations=sizes.num_demonstrations,
            num_reward_prompts=sizes.num_reward_prompts,
            num_reward_valid_prompts=sizes.num_reward_valid_prompts,
            num_ppo_prompts=sizes.num_ppo_prompts,
            num_valid_prompts=sizes.num_valid_prompts,
            num_test_prompts=sizes.num_test_prompts,
        )
    if recipe.judge == "miniature":
        raise RecipeError(
            f"{recipe.name}: judge miniature cannot judge real text. Set judge: rubric."
        )
    from preceptor.data.real import make_real

    return make_real(
        seed=recipe.seed,
        num_demonstrations=sizes.num_demonstrations,
        num_reward_prompts=sizes.num_reward_prompts,
        num_reward_valid_prompts=sizes.num_reward_valid_prompts,
        num_ppo_prompts=sizes.num_ppo_prompts,
        num_valid_prompts=sizes.num_valid_prompts,
        num_test_prompts=sizes.num_test_prompts,
        max_corpus_documents=max(1, sizes.corpus_tokens // 100),
    )
