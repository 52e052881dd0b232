"""From a file to a stage's batches: of ten times the records a few numbers stay in memory."""

import json
import random
import tracemalloc

import pytest
from toys import tiny_model, tiny_tokenizer

from preceptor.config import Recipe
from preceptor.models import save_model, tokenizers
from preceptor.steps import inputs
from preceptor.steps.labels import make_data

LETTERS = "abcdefghijklmnop"
SMALL, LARGE = 300, 3000


def text(draws):
    return " ".join(draws.choices(LETTERS, k=120))


ROWS = {
    "prompts": lambda draws: {"prompt": text(draws)},
    "demonstrations": lambda draws: {"prompt": text(draws), "response": text(draws)},
    "rankings": lambda draws: {
        "prompt": text(draws),
        "responses": [text(draws) for _ in range(3)],
        "ranks": [1, 2, 2],
    },
}


@pytest.fixture
def as_full_a_batch(monkeypatch):
    monkeypatch.setattr(tokenizers, "TEXTS_AT_ONCE", 50)


@pytest.mark.parametrize("kind", ROWS)
def test_memory_is_that_of_some_numbers_a_record(kind, tmp_path, as_full_a_batch):
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path / "model")
    tokenizer = tiny_tokenizer()
    peaks = []
    for count in (SMALL, SMALL, LARGE):  # the first one loads what is loaded once
        draws, out = random.Random(count), tmp_path / f"run-{len(peaks)}"
        few = [ROWS["demonstrations"](draws) for _ in range(20)]
        files = {"demonstrations": few} | {kind: [ROWS[kind](draws) for _ in range(count)]}
        paths = {}
        for name, rows in files.items():
            paths[name] = str(tmp_path / f"{name}.jsonl")
            with open(paths[name], "w") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        del files, few
        recipe = Recipe(
            model=str(tmp_path / "model"), max_prompt_tokens=300, max_response_tokens=300, **paths
        )
        tracemalloc.start()
        make_data(recipe, out)
        if kind == "prompts":
            found = inputs.prompts_with_ids(out, "ppo", tokenizer)
        elif kind == "demonstrations":
            found = inputs.demonstration_ids(recipe, out, tokenizer, "train")
        else:
            rankings = inputs.read_rankings([out], "train")
            found = [inputs.ranked_ids(recipe, rankings, tokenizer, out / "data")[0]]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert all(count / 4 < len(items) < count for items in found)
        del found
    # As texts and lists of ids a prompt takes more than 1.2 KB, the other kinds twice and more.
    assert peaks[2] - peaks[1] < 200 * (LARGE - SMALL)
