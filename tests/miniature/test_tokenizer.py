import pytest

from preceptor.data.records import messages_of
from preceptor.miniature.tokenizer import SPECIAL, miniature_tokenizer, vocabulary


@pytest.fixture(scope="module")
def tokenizer():
    return miniature_tokenizer()


def texts(dataset):
    yield from (document.text for document in dataset.corpus_train + dataset.corpus_valid)
    yield from (d.response for d in dataset.demonstrations_train + dataset.demonstrations_valid)
    for prompt in dataset.prompts_reward_train + dataset.prompts_ppo + dataset.prompts_test:
        yield from (turn["content"] for turn in messages_of(prompt.prompt))
    for items in dataset.tasks.values():
        yield from (item.context + choice for item in items for choice in item.choices)


def test_every_text_comes_back_and_no_word_is_unknown(tokenizer, dataset):
    for text in texts(dataset):
        tokens = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.unk_token_id not in tokens
        assert tokenizer.decode(tokens) == text


def test_the_vocabulary_is_small_sorted_and_without_duplicates():
    words = vocabulary()
    assert 250 <= len(words) + len(SPECIAL) <= 450
    assert words == sorted(set(words))


def test_special_tokens(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.encode("xylophone!", add_special_tokens=False) == [2]


def test_the_chat_template_writes_the_corpus_form(tokenizer):
    turns = [
        {"role": "user", "content": "hello, i am tom."},
        {"role": "assistant", "content": "hello, tom."},
        {"role": "user", "content": "who am i?"},
    ]
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert text == "user: hello, i am tom.\nassistant: hello, tom.\nuser: who am i?\nassistant:"


def test_saving_and_loading_changes_nothing(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "user: Who am I?\nassistant: i do not know."
    assert again.encode(text) == tokenizer.encode(text)
    assert again.decode(again.encode(text)) == text.lower()
    assert again.chat_template == tokenizer.chat_template


def test_prompt_and_response_are_short(tokenizer, dataset):
    for record in dataset.demonstrations_train:
        text = tokenizer.apply_chat_template(messages_of(record.prompt), tokenize=False)
        assert len(tokenizer.encode(text)) + len(tokenizer.encode(record.response)) + 3 <= 96
        assert len(tokenizer.encode(record.response)) <= 32
