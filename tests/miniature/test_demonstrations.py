from dataclasses import fields, replace

import pytest

from preceptor.data.records import Prompt
from preceptor.miniature.demonstrations import Flaws, demonstrate
from preceptor.randomness import python_random

NONE = Flaws(**{field.name: 0.0 for field in fields(Flaws)})


def mean_score(world, judge, prompts, flaws):
    rng = python_random(0, "test")
    demonstrations = [demonstrate(world, prompt, rng, flaws) for prompt in prompts]
    scores = [judge(Prompt(d.prompt, meta=d.meta), d.response).score for d in demonstrations]
    return sum(scores) / len(scores)


def test_demonstrations_are_good_but_not_perfect(world, gold_judge, prompts):
    assert 0.70 < mean_score(world, gold_judge, prompts, Flaws()) < 0.85
    assert mean_score(world, gold_judge, prompts, NONE) > 0.99


@pytest.mark.parametrize("flaw", [field.name for field in fields(Flaws)])
def test_each_flaw_lowers_the_score(world, gold_judge, prompts, flaw):
    assert mean_score(world, gold_judge, prompts, replace(NONE, **{flaw: 1.0})) < 0.99


def test_flaws_come_at_their_rates():
    rng = python_random(0, "test")
    drawn = [Flaws().draw(rng) for _ in range(4000)]
    for field in fields(Flaws):
        rate = sum(field.name in flaws for flaws in drawn) / len(drawn)
        assert abs(rate - field.default) < 0.03
