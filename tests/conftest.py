"""Fixtures that several rooms' tests share."""

import gc
from collections.abc import Iterator

import pytest
from toys import tiny_model, tiny_tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast


def pytest_collection_finish() -> None:
    """What is imported by now stays, and each collection would look at all of it: half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def fp32_unless_told() -> Iterator[None]:
    """Tests say what they say on any processor: `precision: auto` is fp32 in all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("preceptor.models.precision.has_bf16", lambda: False)
        yield


@pytest.fixture(params=["llama", "gqa", "gpt2"])
def any_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_model("llama")


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()
