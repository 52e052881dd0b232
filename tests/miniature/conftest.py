"""A world and a small data set that the tests of this folder share."""

import pytest

from preceptor.data.dataset import Dataset, Judge
from preceptor.miniature import make_miniature, miniature_judge
from preceptor.miniature.world import World, make_world

SIZES = {
    "corpus_tokens": 60_000,
    "num_demonstrations": 400,
    "num_reward_prompts": 400,
    "num_reward_valid_prompts": 60,
    "num_ppo_prompts": 400,
    "num_valid_prompts": 60,
    "num_test_prompts": 400,
}


@pytest.fixture(scope="session")
def world() -> World:
    return make_world(0)


@pytest.fixture(scope="session")
def gold_judge() -> Judge:
    return miniature_judge(0)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return make_miniature(seed=0, **SIZES)


@pytest.fixture(scope="session")
def prompts(dataset):
    return dataset.prompts_reward_train + dataset.prompts_ppo + dataset.prompts_test
