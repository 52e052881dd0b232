"""Where a run's data comes from: the miniature, the embedded packages, files, or a mixture."""

import dataclasses
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from preceptor.config import Recipe
from preceptor.data import files
from preceptor.data.dataset import Dataset
from preceptor.data.hashes import Hashes, are_among, hashes
from preceptor.data.mixture import make_mixture
from preceptor.data.records import compared_text
from preceptor.data.shards import is_built
from preceptor.data.stored import Chosen
from preceptor.errors import DataError, RecipeError

GENERATED = ("miniature", "packages")
MEASURING_PARTS = (
    "demonstrations_valid",
    "rankings_valid",
    "prompts_reward_valid",
    "prompts_valid",
    "prompts_test",
)
TRAINING_PARTS = ("demonstrations_train", "rankings_train", "prompts_reward_train", "prompts_ppo")


def assemble(recipe: Recipe, scratch: Path | None = None) -> Dataset:
    """The data set of a recipe; each kind comes from the source that the recipe names for it.

    Records of the user's own files wait on disk, in the folder `scratch`, as long as they are used.
    """
    sources = {name: _generate(name, recipe) for name in _named(recipe)}
    fields: dict[str, object] = {}
    notes: list[str] = []

    def reading(part: str) -> files.Reading:
        named = getattr(recipe.data, f"{part}_format", None)
        return files.Reading(named, recipe.data.on_error, notes, scratch)

    def take(source: str, *names: str) -> None:
        fields.update({name: getattr(sources[source], name) for name in names})

    def use(**parts: Chosen[Any]) -> None:
        """Parts of a file; of those that only measure no more than is needed."""
        for name, part in parts.items():
            fields[name] = kept = files.enough(part) if name in MEASURING_PARTS else part
            if len(kept) < len(part):
                notes.append(
                    f"{len(part) - len(kept):,} of {len(part):,} {name} left out: "
                    f"{len(kept):,} are enough to measure by"
                )

    if recipe.data.mixture is not None:
        mixed = make_mixture(dict(recipe.data.mixture), recipe.seed)
        fields["corpus_train"], fields["corpus_valid"] = mixed.train, mixed.valid
        notes += mixed.notes()
    elif recipe.corpus in GENERATED:
        take(recipe.corpus, "corpus_train", "corpus_valid", "tasks")
    elif recipe.corpus and not is_built(recipe.corpus):
        documents = files.read_documents(recipe.corpus, reading=reading("corpus"))
        fields["corpus_train"], fields["corpus_valid"] = documents

    # A file that is named for both is one of demonstrations, whose prompts are used.
    own_prompts = None if recipe.prompts == recipe.demonstrations else recipe.prompts
    if recipe.demonstrations is None:
        pass
    elif recipe.demonstrations in GENERATED:
        take(recipe.demonstrations, "demonstrations_train", "demonstrations_valid")
    else:
        train, valid = files.read_demonstrations(recipe.demonstrations, reading("demonstrations"))
        if own_prompts:
            use(demonstrations_train=train, demonstrations_valid=valid)

    prompts = recipe.prompts or recipe.demonstrations
    prompt_fields = [f"prompts_{split.name}" for split in files.PROMPT_SPLITS]
    if prompts in GENERATED:
        take(prompts, *prompt_fields)
    elif recipe.demonstrations is not None:
        if own_prompts:
            parts = files.read_prompts(own_prompts, reading("prompts"))
        else:
            both = train + valid
            parts = files.prompts_of(both, recipe.demonstrations, scratch)
            # The same prompts choose checkpoints in every stage; those of the test choose nothing.
            chosen = are_among(_asked(both), _asked(parts["valid"]))
            valid = Chosen(both.items, both.numbers[chosen])
            use(demonstrations_train=both, demonstrations_valid=valid)
        use(**{f"prompts_{name}": part for name, part in parts.items()})

    if recipe.rankings:
        train_rankings, valid_rankings = files.read_rankings(recipe.rankings, reading("rankings"))
        use(rankings_train=train_rankings, rankings_valid=valid_rankings)
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
    tested, choosing = dataset.prompts_test, dataset.prompts_valid
    prompts = _asked(tested, choosing, dataset.prompts_reward_valid, dataset.rankings_valid)
    users = _users(tested, choosing)
    trained = dataset.prompts_reward_train, dataset.prompts_ppo
    if len(users) and are_among(_users(*trained), users).any():
        users = users[:0]  # too few users to split by
    refused = {name: (prompts, users) for name in TRAINING_PARTS}
    refused["demonstrations_valid"] = (_asked(tested), users[:0])
    kept: dict[str, object] = {}
    for name, (not_prompts, not_users) in refused.items():
        records = getattr(dataset, name)
        is_tested = are_among(_asked(records), not_prompts)
        if len(not_users):
            is_tested |= are_among(hashes(record.user for record in records), not_users)
        if len(records) and is_tested.all():
            raise DataError(
                f"{name}: all {len(records)} have a prompt or a user that is tested. Give prompts "
                "or users that differ from those of the training data."
            )
        kept[name] = Chosen(records, np.flatnonzero(~is_tested))
    return dataclasses.replace(dataset, **kept)  # type: ignore[arg-type]


def _asked(*parts: Sequence[Any]) -> Hashes:
    """Hashes of all prompts of these parts, in their order."""
    return hashes(compared_text(record.prompt) for record in chain(*parts))


def _users(*parts: Sequence[Any]) -> Hashes:
    """Hashes of the users that are named in them."""
    return hashes(record.user for record in chain(*parts) if record.user)


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
