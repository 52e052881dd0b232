"""One template and one set of special tokens for all stages; they travel with the model folder.

A tokenizer of our own is a byte-level BPE: every text is some ids, and these give its bytes back.
It has two special tokens. `<|endoftext|>` stands between documents and ends a response, as GPT-3
has it, so that a pretrained model knows already what an end is; `<|pad|>` is nothing but padding.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, cast

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from preceptor.data.records import PLAIN_CHAT_TEMPLATE, Messages, messages_of
from preceptor.errors import DataError

END_OF_TEXT, PAD = SPECIAL = ("<|endoftext|>", "<|pad|>")
LEAST_VOCABULARY = 256 + len(SPECIAL)
"""A token for each byte; below that some text could not be written."""
TEXTS_AT_ONCE, CHARS_AT_ONCE = 1000, 4_000_000
"""So much goes to the tokenizer in one call, at most."""
_HAS_A_MEANING = {END_OF_TEXT, "<|im_start|>"}
"""Special tokens that are never taken for padding, though they may be no model's end."""

# A model's own template may put a system turn before every conversation, as SmolLM2's does with 20
# tokens ("You are a helpful AI assistant named SmolLM ..."). This one has a system turn only where
# the user wrote one. It is the same in training and in use, since it travels with the folder.
CHATML = (
    "{% for turn in messages %}"
    "{{ '<|im_start|>' + turn['role'] + '\n' + turn['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXT_ITSELF = "{{ messages|map(attribute='content')|join(' ') }}"
"""For a model that has never seen a dialogue: what was said so far is one text to go on with."""


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of so many tokens, fewer where the texts give no more pairs to merge.

    Texts are read one after another and not kept: memory holds each different word with its count.
    The same texts give the same tokenizer. Words are cut by GPT-2's rule and digits stand alone, so
    that numbers of equal length look alike.

    Raises:
        DataError: the vocabulary has no room for the bytes, or there is no text.
    """
    if vocabulary_size < LEAST_VOCABULARY:
        raise DataError(
            f"a vocabulary of {vocabulary_size} is too small: 256 bytes and {len(SPECIAL)} special "
            f"tokens take {LEAST_VOCABULARY}."
        )
    tokenizer = byte_level(BPE())
    trainer = BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    num_chars = 0

    def counted() -> Iterable[str]:
        nonlocal num_chars
        for text in texts:
            num_chars += len(text)
            yield text

    tokenizer.train_from_iterator(counted(), trainer)
    if not num_chars:
        raise DataError(
            "a tokenizer is trained on text, and there is none. Name files with documents in them."
        )
    return wrapped(tokenizer)


def byte_level(model: BPE, *, digits_alone: bool = True) -> Tokenizer:
    """A tokenizer that reads bytes, cut into words by GPT-2's rule before pairs are merged."""
    tokenizer = Tokenizer(model)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words]) if digits_alone else words
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """With our special tokens and the plain template, whose dialogues are ordinary text.

    A text that spells out a special token is read as its letters: nobody's words end a document.
    """
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=PAD,
        chat_template=PLAIN_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
    )


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """Refuse a tokenizer that would hide the end token from the loss.

    Raises:
        DataError: no end token, or no pad token that differs from it.
    """
    if tokenizer.eos_token_id is None:
        raise DataError(f"{where}: the tokenizer has no end token (eos). A response must end.")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise DataError(
            f"{where}: the pad token must differ from the end token, or the model never learns to "
            "stop. Give the tokenizer a pad token of its own."
        )


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, vocabulary_size: int) -> None:
    """Give a tokenizer that people have what all stages need: a pad that is not eos, a template.

    An unused special token of the vocabulary becomes the pad; a new one is added only when there
    is none and the embedding has room for it.
    """
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        unused = unused_special_token(tokenizer, vocabulary_size)
        if unused is not None:
            tokenizer.pad_token = unused
        elif tokenizer.unk_token is not None and tokenizer.unk_token not in _taken(tokenizer):
            tokenizer.pad_token = tokenizer.unk_token
        elif len(tokenizer) < vocabulary_size:
            tokenizer.add_special_tokens({"pad_token": PAD})
    if not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = PLAIN_CHAT_TEMPLATE


def unused_special_token(tokenizer: PreTrainedTokenizerBase, vocabulary_size: int) -> str | None:
    """The last special token that stands for nothing yet, so that padding costs no new weights."""
    unused = [
        token.content
        for index, token in sorted(getattr(tokenizer, "added_tokens_decoder", {}).items())
        if token.special and token.content not in _taken(tokenizer) and index < vocabulary_size
    ]
    return unused[-1] if unused else None


def _taken(tokenizer: PreTrainedTokenizerBase) -> set[str | None]:
    return {tokenizer.eos_token, tokenizer.bos_token, *_HAS_A_MEANING}


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Plain text to ids, nothing added."""
    return cast(list[int], tokenizer.encode(text, add_special_tokens=False))


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """As `encode_text`, many texts at once."""
    if not texts:
        return []
    return cast(list[list[int]], tokenizer(texts, add_special_tokens=False)["input_ids"])


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str | Messages) -> list[int]:
    """A prompt in the chat template, up to where the response begins.

    Raises:
        DataError: the model's own template refuses the conversation.
    """
    return encode_text(tokenizer, _in_template(tokenizer, prompt))


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Iterable[str | Messages]
) -> Iterator[list[int]]:
    """As `encode_prompt`, one after another, many at once so that all threads tokenize."""
    texts = (_in_template(tokenizer, prompt) for prompt in prompts)
    for group in batches_of_texts(texts):
        yield from encode_texts(tokenizer, group)


def _in_template(tokenizer: PreTrainedTokenizerBase, prompt: str | Messages) -> str:
    try:
        text = tokenizer.apply_chat_template(
            cast(Any, messages_of(prompt)), add_generation_prompt=True, tokenize=False
        )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages_of(prompt))
        raise DataError(
            f"the model's chat template refuses a conversation of {roles}: {error}. Leave such "
            "prompts out, or give the model folder another chat_template.jinja."
        ) from None
    return cast(str, text)


def encode_response(tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
    """A response as the model should write it; the end token is part of it, once."""
    return [*encode_text(tokenizer, _lead(tokenizer) + response), cast(int, tokenizer.eos_token_id)]


def encode_responses(
    tokenizer: PreTrainedTokenizerBase, responses: Iterable[str]
) -> Iterator[list[int]]:
    """As `encode_response`, one after another, many at once."""
    lead, end = _lead(tokenizer), cast(int, tokenizer.eos_token_id)
    for group in batches_of_texts(lead + response for response in responses):
        yield from ([*ids, end] for ids in encode_texts(tokenizer, group))


def _lead(tokenizer: PreTrainedTokenizerBase) -> str:
    return " " if is_plain(tokenizer) else ""


def batches_of_texts(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts, many at once so that all threads tokenize, and not too many for memory."""
    batch: list[str] = []
    chars = 0
    for text in texts:
        batch.append(text)
        chars += len(text)
        if len(batch) == TEXTS_AT_ONCE or chars >= CHARS_AT_ONCE:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def text_of_ids(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    """Ids to exactly the text that they stand for, without special tokens."""
    return cast(str, tokenizer.decode(tokens, skip_special_tokens=True))


def decode(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    """Ids to the text that people and judges read."""
    return text_of_ids(tokenizer, tokens).strip()


def is_plain(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a dialogue is ordinary text, so that a model without SFT ends its turn by newline."""
    return bool(tokenizer.chat_template == PLAIN_CHAT_TEMPLATE)


def turn_ends(tokenizer: PreTrainedTokenizerBase, *, continues_text: bool) -> tuple[str, ...]:
    """The strings that end a response, beside the end token.

    A model that only continues text ends its turn with the line, where dialogues are plain text;
    this is the stop sequence that GPT-3 was used with.
    """
    return ("\n",) if continues_text and is_plain(tokenizer) else ()


def separator_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token between packed documents: end-of-text where there is one, else the end token."""
    found = tokenizer.get_vocab().get(END_OF_TEXT)
    return cast(int, tokenizer.eos_token_id if found is None else found)


PROBE = "It's 1,024 words:\n\tnaïve café, 日本語, \U0001f600  two blanks, don't RUN.\r\n"
"""Where tokenizers of one vocabulary part: case, digits, blanks, apostrophes, other scripts."""


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of what turns text into ids; two that agree write the same packed text."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    facts = [vocabulary, encode_text(tokenizer, PROBE), separator_id(tokenizer)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
