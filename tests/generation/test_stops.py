"""Stop strings beside reading the whole text after every token."""

import pytest
import torch
from toys import END, PIECES, WORDS, fused_tokenizer, tiny_model, tiny_tokenizer

from preceptor.generation import row_uniforms, sample, stop_strings, stream
from preceptor.models.tokenizers import (
    LEAST_VOCABULARY,
    encode_prompt,
    encode_text,
    text_of_ids,
    train_tokenizer,
)

STRINGS = [("\n",), ("user:",), ("\n\n", "er:"), ("ab", "\nuser:"), ("c",)]


def first_end(tokenizer, tokens, strings):
    """How many tokens there are when the first string has appeared, or None."""
    for count in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[:count], skip_special_tokens=True)
        if any(string in text for string in strings):
            return count
    return None


def drawn(strings, temperature=1.0, **options):
    tokenizer = fused_tokenizer()
    prompts = [[15, 16], [17], [18, 19, 20]] * 40
    uniforms = row_uniforms(0, "test", [(i,) for i in range(len(prompts))], 30)
    stops = None if strings is None else stop_strings(tokenizer, strings)
    found = sample(tiny_model(), prompts, uniforms, stop_ids=[END], stops=stops, **options)
    return tokenizer, found


@pytest.mark.parametrize("strings", STRINGS)
def test_a_response_ends_with_the_token_that_completes_a_string(strings):
    tokenizer, whole = drawn(None)
    _, found = drawn(strings)
    ends = [first_end(tokenizer, tokens, strings) for tokens in whole.responses]
    assert sum(end is not None for end in ends) > 5
    for row, end in enumerate(ends):
        assert found.responses[row] == whole.responses[row][:end]
        assert found.logprobs[row] == pytest.approx(whole.logprobs[row][:end], abs=1e-4)
        assert found.finished[row] == (end is not None or whole.finished[row])


@pytest.mark.parametrize("strings", STRINGS)
def test_text_and_ids_are_cut_at_the_string(strings):
    tokenizer, found = drawn(strings)
    stops = stop_strings(tokenizer, strings)
    for tokens in found.responses:
        text = text_of_ids(tokenizer, tokens)
        expected = text
        for string in strings:
            expected = expected.split(string)[0]
        assert stops.cut(text) == expected
        before = stops.before(tokens)
        assert text_of_ids(tokenizer, before) == expected
        if text == expected:
            assert before == tokens


@pytest.mark.parametrize("string", ["é", "né", "日本", "a日", "\n日"])
def test_a_string_may_lie_across_parts_of_characters(string):
    """A vocabulary of bytes: every letter outside of ASCII is several tokens."""
    tokenizer = train_tokenizer(["x"], LEAST_VOCABULARY)
    stops = stop_strings(tokenizer, (string,))
    tokens = encode_text(tokenizer, "naïve née 本日, la日本 \n日本語.")
    found = next(n for n in range(1, len(tokens) + 1) if stops.ended(tokens[:n]))
    assert found == first_end(tokenizer, tokens, (string,))


@pytest.mark.parametrize("string", ["b c", " c", "b "])
def test_a_blank_that_no_token_has_is_found(string):
    """Words of this tokenizer are joined by blanks that stand in none of them."""
    tokenizer = tiny_tokenizer()
    tokens = encode_text(tokenizer, "a b c")
    found = next(n for n in range(1, 4) if stop_strings(tokenizer, (string,)).ended(tokens[:n]))
    assert found == 3


def test_an_empty_string_is_refused():
    with pytest.raises(ValueError, match="empty"):
        stop_strings(tiny_tokenizer(), ("a", ""))


@pytest.mark.parametrize("strings", STRINGS)
@pytest.mark.parametrize("seed", range(12))
def test_a_stream_never_shows_what_ended_it_nor_its_beginning(strings, seed):
    tokenizer, model = fused_tokenizer(), tiny_model()
    messages = [{"role": "user", "content": "ab"}]
    options = {"max_new_tokens": 20, "seed": seed, "stop": strings}
    pieces = list(stream(model, tokenizer, messages, **options))
    uniforms = row_uniforms(seed, "stream", [(0,)], 20)
    stops = stop_strings(tokenizer, strings)
    whole = sample(
        model, [encode_prompt(tokenizer, messages)], uniforms, stop_ids=[END], stops=stops
    )
    assert "".join(pieces) == stops.cut(text_of_ids(tokenizer, whole.responses[0])).lstrip()


def test_a_stream_waits_while_a_string_may_have_begun(monkeypatch):
    """It says a, us, er, :, b: nothing is shown of `user:`, which would have to be taken back."""
    tokenizer, said = fused_tokenizer(), [15, 10, 11, 5, 16]
    script = iter(said)
    monkeypatch.setattr(
        "preceptor.generation.engine.draw",
        lambda *_: (torch.tensor([next(script)]), torch.zeros(1)),
    )
    assert [PIECES[i] for i in said] == ["a", "us", "er", ":", "b"]
    messages = [{"role": "user", "content": "ab"}]
    pieces = stream(tiny_model(), tokenizer, messages, max_new_tokens=5, stop=("user:", "userx"))
    assert "".join(pieces) == "a"
    assert len(PIECES) == len(WORDS)
