"""The judge of a recipe: the miniature's gold judge, or the written rubric."""

from preceptor.config import Recipe
from preceptor.data.dataset import Judge


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
        from preceptor.evaluation.labelers import PARTS

        return PARTS
    from preceptor.evaluation.rubric import PARTS as RUBRIC_PARTS

    return tuple(part.name for part in RUBRIC_PARTS)
