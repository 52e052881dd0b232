"""Padding must change nothing, and every number must be read at its own position."""

import torch
from torch import nn
from toys import END, tiny_model

from preceptor.models.forward import (
    held_out_losses,
    make_rows,
    response_logprobs,
    response_scores,
    response_values,
    tokens_at_once,
)
from preceptor.models.load import scalar_from_policy, scalar_head

PROMPTS = [[6, 7, 8], [9], [10, 11, 12, 13, 14, 15]]
RESPONSES = [[10, 11, END], [7, 8, 9, 10, 11, END], [END]]


def test_logprobs_equal_the_whole_models_own(any_model):
    found = response_logprobs(any_model, make_rows(PROMPTS, RESPONSES))
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        logits = any_model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        for t, token in enumerate(response):
            expected = logits[len(prompt) + t - 1, token]
            torch.testing.assert_close(found[row, t], expected, atol=1e-5, rtol=1e-5)
        assert not found[row, len(response) :].any()


def test_garbage_in_the_padding_changes_nothing(any_model):
    rows = make_rows(PROMPTS, RESPONSES)
    before = response_logprobs(any_model, rows)
    assert len(rows.input_ids) > rows.packing.count
    rows.input_ids[rows.packing.count :] = 17
    torch.testing.assert_close(response_logprobs(any_model, rows), before, atol=0, rtol=0)


def test_left_padding_with_positions_from_the_mask_agrees(any_model):
    """Generation pads on the left and training on the right; both are the unpadded model."""
    from preceptor.generation import row_uniforms, sample

    uniforms = row_uniforms(1, "x", [(0,), (1,)], 5)
    short_and_long = sample(any_model, [[6], [7] * 20], uniforms, stop_ids=[END])
    alone = sample(any_model, [[6]], uniforms[:1], stop_ids=[END])
    torch.testing.assert_close(
        torch.tensor(short_and_long.logprobs[0]), torch.tensor(alone.logprobs[0]), atol=1e-5, rtol=0
    )


def scalar_model(tmp_path, kind="llama"):
    tiny_model(kind).save_pretrained(tmp_path)
    return scalar_from_policy(tmp_path, seed=3)


def test_score_is_read_at_the_last_token_and_value_where_it_is_predicted(tmp_path):
    for kind in ("llama", "gqa", "gpt2"):
        model = scalar_model(tmp_path / kind, kind)
        with torch.no_grad():
            scalar_head(model).bias.fill_(0.25)
        rows = make_rows(PROMPTS, RESPONSES)
        scores, values = response_scores(model, rows), response_values(model, rows)
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            alone = make_rows([prompt], [response])
            torch.testing.assert_close(scores[row], response_scores(model, alone)[0])
            torch.testing.assert_close(
                values[row, : len(response)], response_values(model, alone)[0]
            )
            # The value that predicts the token after the last one would be the score itself.
            longer = make_rows([prompt + response], [[END]])
            torch.testing.assert_close(scores[row], response_values(model, longer)[0, 0])


def test_values_of_masked_positions_are_zero_and_carry_no_gradient(tmp_path):
    model = scalar_model(tmp_path)
    rows = make_rows(PROMPTS, RESPONSES)
    values = response_values(model, rows)
    assert not values[~rows.response_mask].any()
    values[~rows.response_mask].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_held_out_losses_equal_cross_entropy(model):
    import numpy as np

    sequences = np.array([[6, 7, 8, 9, 10], [11, 12, 13, 14, 15]], dtype=np.int32)
    found = held_out_losses(model, sequences, "fp32")
    for row, sequence in enumerate(sequences):
        tokens = torch.tensor(sequence, dtype=torch.long)
        logits = model(tokens[None]).logits[0, :-1]
        expected = nn.functional.cross_entropy(logits, tokens[1:])
        assert abs(found[row] - float(expected.detach())) < 1e-5


def test_a_pass_without_gradients_never_holds_more_than_128_mib_of_logits():
    model = tiny_model("llama")
    assert tokens_at_once(model) == 8192
    for vocabulary in (49_152, 151_936):
        model.resize_token_embeddings(vocabulary)
        count = tokens_at_once(model)
        size = model.get_input_embeddings().num_embeddings
        assert count * size * 4 <= 128 * 2**20 < (count + 1) * size * 4
