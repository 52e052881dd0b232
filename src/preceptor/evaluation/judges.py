"""The judge of a recipe, the miniature's gold judge or the written rubric, and its labelers."""

from preceptor.config import Recipe
from preceptor.data.dataset import Judge
from preceptor.evaluation.labelers import PARTS, Group, Labeler, make_labelers


def judge_of(recipe: Recipe) -> Judge:
    """A function (prompt, response) -> Judgement, free of noise."""
    if recipe.judge == "miniature":
        from preceptor.miniature import miniature_judge

        return miniature_judge(recipe.seed)
    from preceptor.evaluation.rubric import rubric_judge

    return rubric_judge


def parts_of(recipe: Recipe) -> tuple[str, ...]:
    """The names of what the judge looks at; labelers differ in how much each part counts."""
    if recipe.judge == "miniature":
        return PARTS
    from preceptor.evaluation.rubric import PARTS as RUBRIC_PARTS

    return tuple(part.name for part in RUBRIC_PARTS)


def labelers_of(recipe: Recipe, num: int, group: Group) -> list[Labeler]:
    """Simulated labelers of a group, with the noise and taste that the recipe tells."""
    noise = recipe.rank
    return make_labelers(
        num,
        seed=recipe.seed,
        temperature=noise.temperature,
        error_rate=noise.error_rate,
        tie_margin=noise.tie_margin,
        taste_spread=noise.taste_spread,
        noise=noise.noise,
        group=group,
        parts=parts_of(recipe),
    )
