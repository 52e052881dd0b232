"""One template and one set of special tokens for all stages; they travel with the model folder."""

from typing import Any, cast

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from preceptor.data.records import PLAIN_CHAT_TEMPLATE, Messages, messages_of
from preceptor.errors import DataError


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
        taken = {tokenizer.eos_token, tokenizer.bos_token, "<|endoftext|>", "<|im_start|>"}
        unused = [
            token
            for index, token in sorted(getattr(tokenizer, "added_tokens_decoder", {}).items())
            if token.special and token.content not in taken and index < vocabulary_size
        ]
        if unused:
            tokenizer.pad_token = unused[-1].content
        elif tokenizer.unk_token is not None and tokenizer.unk_token not in taken:
            tokenizer.pad_token = tokenizer.unk_token
        elif len(tokenizer) < vocabulary_size:
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    if not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = PLAIN_CHAT_TEMPLATE


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
    return encode_text(tokenizer, cast(str, text))


def encode_response(tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
    """A response as the model should write it; the end token is part of it, once."""
    lead = " " if is_plain(tokenizer) else ""
    return [*encode_text(tokenizer, lead + response), cast(int, tokenizer.eos_token_id)]


def decode(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    """Ids to the text that people and judges read."""
    return cast(str, tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def is_plain(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a dialogue is ordinary text, so that a model without SFT ends its turn by newline."""
    return bool(tokenizer.chat_template == PLAIN_CHAT_TEMPLATE)


def stop_ids(tokenizer: PreTrainedTokenizerBase, *, continues_text: bool) -> list[int]:
    """The tokens that end a response.

    A model that only continues text ends its turn with the line, where dialogues are plain text;
    this is the stop sequence that GPT-3 was used with.
    """
    found = [cast(int, tokenizer.eos_token_id)]
    if continues_text and is_plain(tokenizer):
        found += encode_text(tokenizer, "\n")[-1:]
    return found


def separator_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token between packed documents: end-of-text where there is one, else the end token."""
    found = tokenizer.get_vocab().get("<|endoftext|>")
    return cast(int, tokenizer.eos_token_id if found is None else found)
