"""What a recipe would do, in a few lines, without anything heavy imported."""

from preceptor.config import Architecture, PPOConfig, Recipe, SFTConfig, TokenizerConfig
from preceptor.recipes.rounds import kind_of, policy_of, step_name

STAGES = (
    "data",
    "pretrain",
    "sft",
    "ppo_start",
    "sample",
    "rank",
    "reward",
    "ppo",
    "ppo_ptx",
    "evaluate",
    "report",
)


def stages_of(recipe: Recipe) -> list[str]:
    """The steps that this recipe has, in order; earlier rounds' bear their number."""
    optional = ("pretrain", "ppo_start", "ppo", "ppo_ptx")
    absent = {name for name in optional if getattr(recipe, name) is None}
    if recipe.demonstrations is None:  # the run ends with the model that continues text
        return [name for name in ("data", "pretrain", "report") if name not in absent]
    if recipe.rankings:
        absent |= {"sample", "rank"}
    present = [name for name in STAGES if name not in absent]
    earlier = [
        step_name(recipe, number, kind)
        for number in range(1, recipe.rounds)
        for kind in ("sample", "rank", "reward", policy_of(recipe))
        if kind is not None
    ]
    place = present.index("reward" if recipe.rankings else "sample")
    return present[:place] + earlier + present[place:]


def summary_lines(recipe: Recipe) -> list[str]:
    """`NAME: ok`, where everything comes from, and the size of each stage."""
    model = "a new one" if isinstance(recipe.model, Architecture) else recipe.model
    width = max(16, 2 + max(len(stage) for stage in stages_of(recipe)))
    lines = [
        f"{recipe.name}: ok",
        f"{'model':<{width}}{model}",
    ]
    if isinstance(recipe.model, Architecture):
        lines.append(f"{'tokenizer':<{width}}{_tokenizer(recipe)}")
    if recipe.demonstrations is not None:
        lines += [
            f"{'demonstrations':<{width}}{recipe.demonstrations}",
            f"{'prompts':<{width}}{recipe.prompts or recipe.demonstrations}",
            f"{'rankings':<{width}}{_who_ranks(recipe)}",
        ]
    mixture = ", ".join(f"{name} x {w:g}" for name, w in (recipe.data.mixture or {}).items())
    lines.append(f"{'corpus':<{width}}{mixture or recipe.corpus or 'none'}")
    return lines + [
        f"{stage:<{width}}{_size(recipe, kind_of(stage))}".rstrip() for stage in stages_of(recipe)
    ]


def _tokenizer(recipe: Recipe) -> str:
    if isinstance(recipe.tokenizer, TokenizerConfig):
        return f"a new one of {recipe.tokenizer.vocabulary_size:,} tokens, trained on the corpus"
    return recipe.tokenizer or "miniature"


def _who_ranks(recipe: Recipe) -> str:
    if recipe.rankings is not None:
        return recipe.rankings
    if recipe.labels == "people":
        return f"people, through {recipe.label_store or 'labels.db'}"
    through = f", through {recipe.label_store or 'labels.db'}" if recipe.labels == "store" else ""
    return f"simulated labelers, judge {recipe.judge}{through}"


def _size(recipe: Recipe, stage: str) -> str:
    if stage == "pretrain" and recipe.pretrain:
        return f"{recipe.pretrain.num_steps:,} steps of {recipe.pretrain.batch_tokens:,} tokens"
    if stage in ("sft", "ppo_start"):
        config: SFTConfig = getattr(recipe, stage)
        text = f", {config.ptx_fraction:.0%} text" if config.ptx_fraction else ""
        return f"{config.num_epochs} epochs, {config.batch_size} demonstrations a step{text}"
    if stage == "sample":
        return f"{recipe.sample.min_responses} to {recipe.sample.max_responses} responses a prompt"
    if stage == "rank":
        if recipe.labels == "people":
            noise = recipe.rank
            return (
                f"{noise.labels_per_prompt} labels a training prompt, "
                f"{noise.labels_per_valid_prompt} a validation prompt"
            )
        return f"{recipe.rank.num_labelers} labelers, {recipe.rank.num_heldout_labelers} held out"
    if stage == "reward":
        return f"{recipe.reward.num_epochs} epochs, {recipe.reward.batch_prompts} prompts a step"
    if stage in ("ppo", "ppo_ptx"):
        return _ppo_size(getattr(recipe, stage))
    return ""


def _ppo_size(config: PPOConfig) -> str:
    episodes = f"{config.num_iterations} iterations of {config.batch_size} episodes"
    steps = config.num_iterations * config.num_minibatches * config.num_epochs
    scored = "" if config.reward == "reward_model" else f", scored by {config.reward}"
    return f"{episodes}, {steps:,} optimizer steps{scored}"
