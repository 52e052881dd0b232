"""What a model that only continues text is judged by: its turn, ended by the line or by eos."""

import pytest
from toys import fused_tokenizer, tiny_model

from preceptor.config import Architecture
from preceptor.evaluation.answers import answer
from preceptor.generation import stream
from preceptor.miniature.tokenizer import miniature_tokenizer
from preceptor.models.load import new_policy
from preceptor.models.tokenizers import decode, encode_prompt, encode_text, turn_ends


@pytest.fixture(scope="module")
def untrained():
    """It says any word, a newline as soon as another."""
    tokenizer = miniature_tokenizer()
    shape = Architecture(hidden_size=16, num_layers=1, num_heads=2, num_kv_heads=2)
    return new_policy(shape, tokenizer, seed=0).eval(), tokenizer


def answers_of(untrained, *, continues_text: bool):
    model, tokenizer = untrained
    return answer(
        model,
        tokenizer,
        [encode_prompt(tokenizer, "who is there ?")] * 300,
        keys=[(i,) for i in range(300)],
        max_response_tokens=60,
        temperature=1.0,
        continues_text=continues_text,
        dtype="fp32",
        seed=0,
    )


def test_a_newline_ends_the_turn_of_a_model_that_continues_text_and_of_no_other(untrained):
    tokenizer = untrained[1]
    [newline] = encode_text(tokenizer, "\n")
    end = tokenizer.eos_token_id
    turns, whole = (answers_of(untrained, continues_text=c) for c in (True, False))
    assert any(newline in tokens for tokens in whole.tokens)
    assert not any(newline in tokens for tokens in turns.tokens)
    # What the line ended is scored as a response that ended.
    assert sum(turns.finished) > sum(whole.finished) > 0
    for tokens, finished in zip(turns.tokens, turns.finished, strict=True):
        assert (tokens[-1] == end) == finished
        assert end not in tokens[:-1]


def test_chat_stops_where_evaluation_does(untrained):
    model, tokenizer = untrained
    turn = [{"role": "user", "content": "who is there ?"}]

    def said(seed: int, continues_text: bool) -> str:
        options = {"max_new_tokens": 60, "seed": seed, "continues_text": continues_text}
        return "".join(stream(model, tokenizer, turn, **options))

    whole = [said(seed, False) for seed in range(30)]
    assert any("\n" in text for text in whole)
    turns = [said(seed, True).strip() for seed in range(30)]
    # One that begins with a newline says nothing; blanks in front are never shown.
    spoken = [(text, turn) for text, turn in zip(whole, turns, strict=True) if turn]
    assert len(spoken) > 20
    assert all(turn == text.split("\n")[0].strip() for text, turn in spoken)


def test_a_model_with_turns_of_its_own_is_stopped_by_its_end_token_alone(untrained):
    tokenizer = miniature_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    assert turn_ends(tokenizer, continues_text=True) == ()
    assert turn_ends(untrained[1], continues_text=True) == ("\n",)


def test_a_newline_inside_a_token_ends_the_turn_too_and_what_stands_before_it_is_kept():
    model, tokenizer = tiny_model(), fused_tokenizer()
    found = answer(
        model,
        tokenizer,
        [encode_prompt(tokenizer, "ab")] * 200,
        keys=[(i,) for i in range(200)],
        max_response_tokens=30,
        temperature=1.0,
        continues_text=True,
        dtype="fp32",
        seed=0,
    )
    end, dot = tokenizer.eos_token_id, encode_text(tokenizer, ".")
    assert not any("\n" in text for text in found.texts)
    ended = [
        (text, ids)
        for text, ids, finished in zip(found.texts, found.tokens, found.finished, strict=True)
        if finished
    ]
    assert len(ended) > 100
    assert all(ids[-1] == end and end not in ids[:-1] for _, ids in ended)
    assert all(decode(tokenizer, ids) == text for text, ids in ended)
    # No token of the text is "." but for the rest of a ".\n" that was cut.
    assert any(ids[-2:-1] == dot for _, ids in ended)
