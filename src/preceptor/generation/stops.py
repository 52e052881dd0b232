"""Strings that end a response, found among its ids without reading every text at every token."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from preceptor.models.tokenizers import encode_text, text_of_ids


@dataclass(frozen=True)
class StopStrings:
    """A response ends with the token that completes one of `strings` in its text.

    always     ids whose own text has one of them
    perhaps    ids that may complete one which began before: then the text is looked at
    """

    tokenizer: PreTrainedTokenizerBase
    strings: tuple[str, ...]
    always: frozenset[int]
    perhaps: frozenset[int]

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether a response that was going on has ended with its newest token."""
        if tokens[-1] in self.always:
            return True
        if tokens[-1] not in self.perhaps:
            return False
        text = text_of_ids(self.tokenizer, list(tokens))
        return any(string in text for string in self.strings)

    def cut(self, text: str) -> str:
        """The text before the first of the strings."""
        return text[: min((text.find(s) for s in self.strings if s in text), default=len(text))]

    def before(self, tokens: Sequence[int]) -> list[int]:
        """Ids of the text before the first of the strings: those drawn, but for a cut token's."""
        text = self.cut(text_of_ids(self.tokenizer, list(tokens)))
        kept = list(tokens)
        while not text.startswith(said := text_of_ids(self.tokenizer, kept)):
            kept.pop()
        return kept + encode_text(self.tokenizer, text[len(said) :])

    def settled(self, text: str) -> str:
        """The text without an end that may be the beginning of one of the strings."""
        begun = (
            length
            for string in self.strings
            for length in range(1, len(string))
            if text.endswith(string[:length])
        )
        return text[: len(text) - max(begun, default=0)]


@lru_cache(maxsize=8)
def stop_strings(tokenizer: PreTrainedTokenizerBase, strings: tuple[str, ...]) -> StopStrings:
    """Look at the text of each token of the vocabulary, once.

    Raises:
        ValueError: a string is empty.
    """
    if "" in strings:
        raise ValueError("an empty string would end every response before it begins")
    if not strings:
        return StopStrings(tokenizer, (), frozenset(), frozenset())
    ids = sorted(tokenizer.get_vocab().values())
    texts = tokenizer.batch_decode([[i] for i in ids], skip_special_tokens=True)
    ends = tuple(string[begin:] for string in strings for begin in range(len(string)))
    beyond_ascii = not all(string.isascii() for string in strings)
    always, perhaps = set(), set()
    for i, text in zip(ids, texts, strict=True):
        if any(string in text for string in strings):
            always.add(i)
        # A word may have lost the blank before it, and a part of a character has no text.
        elif (
            f" {text}".startswith(ends)
            or text.startswith(ends)
            or (beyond_ascii and "\ufffd" in text)
        ):
            perhaps.add(i)
    return StopStrings(tokenizer, strings, frozenset(always), frozenset(perhaps))
