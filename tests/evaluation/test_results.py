"""The figures of the report against counts by hand."""

import numpy as np
import pytest
import torch
from toys import tiny_model, tiny_tokenizer

from preceptor.data.dataset import Choice
from preceptor.data.records import Demonstration, Prompt
from preceptor.evaluation import results
from preceptor.evaluation.answers import few_shot_ids, response_losses
from preceptor.evaluation.tax import task_accuracy
from preceptor.models.tokenizers import encode_prompt, encode_text


def row(score, num_tokens=3, **parts):
    return {
        "judgement": {"score": score, "parts": parts},
        "use_case": "a",
        "num_tokens": num_tokens,
    }


def test_a_win_rate_counts_ties_half():
    ours = [row(s) for s in (0.9, 0.5, 0.1, 0.7)]
    base = [row(s) for s in (0.1, 0.5, 0.2, 0.3)]
    found = results.compare(ours, base)
    assert (found["wins"], found["ties"], found["losses"], found["n"]) == (2, 1, 1, 4)
    assert found["mean"] == pytest.approx(2.5 / 4)
    assert results.compare(base, ours)["mean"] == pytest.approx(1 - 2.5 / 4)


def test_a_win_rate_at_equal_length_stands_beside_the_plain_one():
    """Twice as long it wins 70 of 80, half as long 10 of 40."""
    longer = [row(float(i < 70), num_tokens=12) for i in range(80)]
    shorter = [row(float(i < 10), num_tokens=3) for i in range(40)]
    base = [row(0.5, num_tokens=6)] * 120
    found = results.compare([*longer, *shorter], base)
    assert found["mean"] == pytest.approx(80 / 120)
    # Lengths are twice and half: the rate between is that of the mean of the two logits.
    logit = (np.log(70 / 10) + np.log(10 / 30)) / 2
    controlled = found["length_controlled"]
    assert controlled["mean"] == pytest.approx(1 / (1 + np.exp(-logit)))
    assert controlled["low"] < controlled["mean"] < controlled["high"] and controlled["n"] == 120
    assert results.compare(longer, base[:80])["length_controlled"]["mean"] is None


def test_hallucination_is_the_share_of_all_responses_that_say_something_untrue():
    rows = [row(1, truth=1.0), row(1, truth=0.5), row(1, truth=None), row(1, truth=0.0)]
    found = results.rates(rows)
    assert found["hallucination"]["mean"] == pytest.approx(2 / 4)
    assert found["hallucination"]["n"] == 4
    assert found["hallucination_of_claims"]["mean"] == pytest.approx(2 / 3)
    assert found["hallucination_of_claims"]["n"] == 3
    assert found["constraint"] is None


def test_the_rubrics_parts_are_read_by_their_own_names():
    found = results.rates([row(1, true=0.2, on_topic=0.6, complete=1.0)])
    assert found["hallucination"]["mean"] == 1.0
    assert found["task"]["mean"] == pytest.approx(0.6)
    assert found["ending"]["mean"] == 1.0


def test_few_shot_takes_as_many_examples_as_fit():
    tokenizer = tiny_tokenizer()
    shots = [Demonstration("a b", "c"), Demonstration("d e", "f")]
    prompt = Prompt("g")
    plain = encode_prompt(tokenizer, "g")
    whole = few_shot_ids(tokenizer, shots, prompt, room=100)
    assert whole[-len(plain) :] == plain
    one = few_shot_ids(tokenizer, shots, prompt, room=len(whole) - 1)
    assert len(plain) < len(one) < len(whole) and one == whole[len(whole) - len(one) :]
    assert few_shot_ids(tokenizer, shots, prompt, room=len(plain)) == plain


def test_a_task_is_won_by_the_likeliest_continuation_a_token():
    tokenizer, model = tiny_tokenizer(), tiny_model("llama")
    items = [Choice("a b c", ["d", "e f", "g h i"], 0) for _ in range(3)]
    context = encode_text(tokenizer, "a b c")
    means = []
    for choice in items[0].choices:
        ids = encode_text(tokenizer, choice)
        logits = model(torch.tensor([context + ids])).logits[0].log_softmax(-1)
        picked = [logits[len(context) - 1 + t, token] for t, token in enumerate(ids)]
        means.append(float(torch.stack(picked).mean().detach()))
    best = means.index(max(means))
    for answer in range(3):
        asked = [Choice("a b c", ["d", "e f", "g h i"], answer)] * 3
        assert task_accuracy(model, tokenizer, asked, "fp32").mean == float(answer == best)


def test_losses_of_responses_do_not_depend_on_their_company():
    model = tiny_model("llama")
    together = response_losses(
        model, [[6, 7], [8], [9, 10, 11]], [[12, 1], [13, 14, 1], [1]], "fp32"
    )
    alone = response_losses(model, [[8]], [[13, 14, 1]], "fp32")
    assert together[1] == pytest.approx(alone[0], abs=1e-5)
