"""The training steps: files in, one stage called, a model folder out."""

import copy
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from preceptor.config import Architecture, PPOConfig, Recipe, SFTConfig
from preceptor.data.batching import beginnings, open_sequences, packed_text, sequences_by_source
from preceptor.data.formats import LeftOut, stream_records
from preceptor.data.records import Document
from preceptor.data.shards import PackedText
from preceptor.errors import DataError, RecipeError
from preceptor.evaluation.judges import judge_of
from preceptor.models.load import (
    halved_base,
    load_frozen_policy,
    load_policy,
    load_scalar,
    load_tokenizer,
    new_policy,
    scalar_from_policy,
    scalar_head,
    with_lora,
)
from preceptor.randomness import derived_seed
from preceptor.recipes.rounds import home_of, homes_up_to, kind_of
from preceptor.stages.ppo import HeldOut, run_ppo
from preceptor.stages.pretrain import run_pretrain
from preceptor.stages.reward import run_reward
from preceptor.stages.sft import run_sft
from preceptor.steps.inputs import (
    base_model,
    demonstration_ids,
    given_model,
    probe_ids,
    prompts_with_ids,
    ranked_ids,
    read_rankings,
    tokenizer_of,
)
from preceptor.steps.scores import model_scores, score_function
from preceptor.training.folder import StageFolder, read_json

NUM_WRITTEN = 12
"""Held-out texts that the pretrained model goes on with, for people to read."""


def pretrain(recipe: Recipe, out: Path, folder: StageFolder) -> None:
    """Train the model that only continues text."""
    assert recipe.pretrain is not None
    if isinstance(recipe.model, Architecture):
        tokenizer = tokenizer_of(recipe, out)
        seed = derived_seed(recipe.seed, "weights")
        policy = new_policy(recipe.model, tokenizer, seed).eval()
    else:
        policy, tokenizer = load_policy(given_model(recipe))
    length = recipe.pretrain.sequence_length
    held_out, most = out / "data" / "corpus-valid.jsonl", recipe.pretrain.num_valid_sequences
    by_source = sequences_by_source(_documents(held_out), tokenizer, length, most)
    run_pretrain(
        recipe.pretrain,
        folder,
        policy=policy,
        tokenizer=tokenizer,
        train=_text(out, "train", length),
        valid=_text(out, "valid", length),
        valid_by_source=by_source if len(by_source) > 1 else {},
        begun=beginnings(_documents(held_out), tokenizer, length // 8, NUM_WRITTEN),
        seed=recipe.seed,
    )


def _text(out: Path, part: str, sequence_length: int) -> PackedText:
    """The run's packed text: of its own documents, or a built corpus's shards."""
    path = packed_text(out / "data", part)
    assert path is not None  # the recipe is refused without a corpus
    return open_sequences(path, sequence_length)


def _documents(path: Path) -> Iterator[Document]:
    """Held-out documents of the run, which may be a tenth of any corpus; a built one has none."""
    if path.exists():
        yield from stream_records(path, Document, left_out=LeftOut())


def sft(recipe: Recipe, out: Path, folder: StageFolder, name: str = "sft") -> None:
    """Fine-tune on demonstrations: the SFT model, or the model that PPO starts from."""
    config: SFTConfig = getattr(recipe, name)
    halved = halved_base(config.lora, config.precision)
    policy, tokenizer = load_policy(base_model(recipe, out), halved)
    if config.reward_model is not None:
        require_same_tokens(tokenizer, config.reward_model, name)
    policy = with_lora(policy, config.lora, derived_seed(recipe.seed, f"{name}/lora"))
    run_sft(
        config,
        folder,
        policy=policy,
        tokenizer=tokenizer,
        train=demonstration_ids(recipe, out, tokenizer, "train"),
        valid=demonstration_ids(recipe, out, tokenizer, "valid"),
        valid_prompts=prompts_with_ids(out, "valid", tokenizer)[1],
        pretraining=_text(out, "train", config.ptx_sequence_length)
        if config.ptx_fraction
        else None,
        max_response_tokens=recipe.max_response_tokens,
        seed=recipe.seed,
    )


def require_same_tokens(tokenizer: PreTrainedTokenizerBase, reward_model: str, name: str) -> None:
    """A reward model reads the very ids that the policy writes.

    Raises:
        DataError: in its vocabulary they are other words.
    """
    if load_tokenizer(reward_model, 2**31).get_vocab() != tokenizer.get_vocab():
        raise DataError(
            f"{name}.reward_model {reward_model}: its vocabulary is not that of the model in "
            "training, so it would read other words than were written. Name a reward model of the "
            "same tokenizer, or leave it out and set choose_by: valid_loss."
        )


def reward(recipe: Recipe, out: Path, folder: StageFolder, step: str = "reward") -> None:
    """Train the reward model from the SFT model, on the rankings of all rounds so far."""
    halved = halved_base(recipe.reward.lora, recipe.reward.precision)
    seed = derived_seed(recipe.seed, "reward/head")
    model = scalar_from_policy(out / "sft" / "model", seed, halved)
    model = with_lora(model, recipe.reward.lora, derived_seed(recipe.seed, "reward/lora"))
    tokenizer = load_tokenizer(out / "sft" / "model", 2**31)
    homes = homes_up_to(recipe, out, step)
    parts = {
        part: ranked_ids(recipe, read_rankings(homes, part), tokenizer, out / "data")[0]
        for part in ("train", "valid")
    }
    for part, items in parts.items():
        if not any(item.pairs for item in items):
            raise DataError(
                f"rankings-{part}: no ranking with two responses in order, all are ties or too "
                "long. A reward model learns from pairs."
            )
    demonstrations = demonstration_ids(recipe, out, tokenizer, "valid")
    run_reward(
        recipe.reward,
        folder,
        model=model,
        tokenizer=tokenizer,
        train=parts["train"],
        valid=parts["valid"],
        demonstrations=demonstrations,
        probes=probe_ids(recipe, tokenizer, demonstrations[1]),
        seed=recipe.seed,
    )


def require_good_reward_model(recipe: Recipe, out: Path, step: str) -> None:
    """PPO against a reward model that guesses only makes a policy worse; refuse it."""
    folder = home_of(out, step) / "reward"
    summary = read_json(folder / "done.json")["summary"]
    accuracy, least = summary["valid_accuracy"], recipe.reward.min_accuracy
    if accuracy < least:
        raise RecipeError(
            f"{folder.relative_to(out)}: accuracy on held-out labels is {accuracy:.3f}, below "
            f"reward.min_accuracy {least}. PPO would optimise noise. Give more rankings"
            f"{' or fewer rounds' if recipe.rounds > 1 else ''}, or lower the limit knowingly."
        )


def ppo(recipe: Recipe, out: Path, folder: StageFolder, step: str) -> None:
    """Train a policy against its round's reward model, from the model it is held to."""
    name = kind_of(step)
    home = home_of(out, step)
    config: PPOConfig = getattr(recipe, name)
    start = out / ("sft" if recipe.ppo_start is None else "ppo_start") / "model"
    if config.reward == "reward_model":
        require_good_reward_model(recipe, out, step)
    halved = halved_base(config.lora, config.precision)
    policy, tokenizer = load_policy(start, halved)
    policy = with_lora(policy, config.lora, derived_seed(recipe.seed, f"{name}/lora"))
    ref_policy = None  # with adapters the reference is the policy with them off
    if config.lora is None:
        ref_policy, _ = load_frozen_policy(start, config.precision)
    if config.value_from == "reward":
        value_model = load_scalar(home / "reward" / "model", halved)
    else:
        value_model = scalar_from_policy(start, None, halved)
    # With adapters one copy of the reward model's weights is both that and the value model.
    is_both = (config.lora is not None and config.reward == "reward_model") and (
        config.value_from == "reward" and config.precision == recipe.reward.precision
    )
    head = copy.deepcopy(scalar_head(value_model)).requires_grad_(False)
    value_model = with_lora(value_model, config.lora, derived_seed(recipe.seed, f"{name}/value"))
    if is_both:
        score = model_scores(value_model, recipe.reward, head)
    else:
        score = score_function(recipe, config, home)
    prompts, prompt_ids = prompts_with_ids(out, "ppo", tokenizer)
    looked, looked_ids = prompts_with_ids(out, "valid", tokenizer)
    length = config.ptx_sequence_length
    looked_text = None
    if packed_text(out / "data", "valid"):
        looked_text = _text(out, "valid", length)[: recipe.evaluate.num_tax_sequences]
    run_ppo(
        config,
        folder,
        policy=policy,
        ref_policy=ref_policy,
        value_model=value_model,
        score=score,
        tokenizer=tokenizer,
        prompts=prompts,
        prompt_ids=prompt_ids,
        pretraining=_text(out, "train", length) if config.ptx_coef else None,
        held_out=HeldOut(looked, looked_ids, judge_of(recipe), looked_text),
        max_response_tokens=recipe.max_response_tokens,
        seed=recipe.seed,
    )
