"""What is said to a prompt does not depend on where it stands among the others."""

import pytest
from toys import tiny_model, tiny_tokenizer

from preceptor.config import Recipe
from preceptor.data.hashes import prompt_keys
from preceptor.data.records import Prompt, read_records, write_records
from preceptor.evaluation.run import answer_prompts
from preceptor.models import load_policy, save_model
from preceptor.models.tokenizers import encode_prompt
from preceptor.steps import best_of_n, labels
from preceptor.steps.labels import sample_responses
from preceptor.steps.responses import responses_of_models

PROMPTS = [Prompt(text) for text in ("a b", "c", "a b", "d e f", "g")]
MORE = [Prompt("h i"), *PROMPTS[3:], Prompt("a"), *PROMPTS[:3]]
"""The same, turned round and with others between; of the two equal ones the first stays first."""


def moved(rows):
    """What was said to PROMPTS, out of what was said to MORE."""
    return [*rows[4:], *rows[1:3]]


@pytest.fixture
def recipe(tmp_path):
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "sft" / "model")
    (tmp_path / "d.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    return Recipe(
        model=str(tmp_path / "sft" / "model"),
        demonstrations=str(tmp_path / "d.jsonl"),
        max_response_tokens=12,
        sample={"min_responses": 2, "max_responses": 9},
    )


def test_a_key_is_of_the_content_and_counts_equal_ones():
    keys = prompt_keys(prompt.prompt for prompt in PROMPTS).tolist()
    assert len(set(keys)) == 5
    assert keys[0][0] == keys[2][0] and [keys[0][1], keys[2][1]] == [0, 1]
    assert moved(prompt_keys(prompt.prompt for prompt in MORE).tolist()) == keys
    [text, turn] = prompt_keys(["a", [{"content": "a", "role": "user"}]]).tolist()
    assert text[0] == turn[0]


def test_samples_and_their_number_are_a_prompts_own(recipe, tmp_path):
    found = []
    for prompts in (PROMPTS, MORE):
        for part in ("train", "valid"):
            write_records(tmp_path / "data" / f"prompts-reward-{part}.jsonl", prompts)
        paths = sample_responses(recipe, tmp_path)
        found.append([[row.meta["responses"] for row in read_records(p, Prompt)] for p in paths])
    assert [moved(rows) for rows in found[1]] == found[0]
    assert len({len(responses) for responses in found[0][0]}) > 1
    assert found[0][0][0] != found[0][0][2]  # two users' equal prompts are answered by themselves
    assert found[0][0] != found[0][1]


def test_samples_are_the_same_however_many_prompts_are_answered_together(
    recipe, tmp_path, monkeypatch
):
    for part in ("train", "valid"):
        write_records(tmp_path / "data" / f"prompts-reward-{part}.jsonl", PROMPTS)
    found = []
    for prompts_at_once in (100, 2):
        monkeypatch.setattr(labels, "TOKENS_AT_ONCE", prompts_at_once * 9 * 12)
        found.append([read_records(path, Prompt) for path in sample_responses(recipe, tmp_path)])
    assert found[0] == found[1]


def test_answers_in_evaluation_are(recipe, tmp_path):
    model, tokenizer = load_policy(tmp_path / "sft" / "model")
    found = [
        answer_prompts(
            recipe,
            model,
            tokenizer,
            prompts,
            [encode_prompt(tokenizer, prompt.prompt) for prompt in prompts],
            continues_text=False,
        ).texts
        for prompts in (PROMPTS, MORE)
    ]
    assert moved(found[1]) == found[0]


def test_responses_for_people_are(recipe, tmp_path):
    found = [
        responses_of_models(
            recipe,
            {"sft": tmp_path / "sft" / "model"},
            [prompt.prompt for prompt in prompts],
            num_responses=3,
            temperature=1.0,
            seed=0,
        )
        for prompts in (PROMPTS, MORE)
    ]
    assert moved(found[1]) == found[0]


def test_the_many_of_best_of_n_are(recipe, tmp_path, monkeypatch):
    found, sample = [], best_of_n.sample
    monkeypatch.setattr(best_of_n, "frozen_reward_model", lambda *_: None)
    monkeypatch.setattr(
        best_of_n, "sample", lambda *a, **k: found.append(sample(*a, **k).responses) or 1 / 0
    )
    for prompts in (PROMPTS, MORE):
        write_records(tmp_path / "data" / "prompts-test.jsonl", prompts)
        with pytest.raises(ZeroDivisionError):  # what it does with them is not looked at
            best_of_n.best_of_n(recipe, tmp_path, "sft", 4)
    rows = [[said[i : i + 4] for i in range(0, len(said), 4)] for said in found]
    assert moved(rows[1]) == rows[0]
