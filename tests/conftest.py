"""Fixtures that several rooms' tests share."""

import pytest
from toys import tiny_model, tiny_tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast


@pytest.fixture(params=["llama", "gqa", "gpt2"])
def any_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_model("llama")


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()
