"""A word-level tokenizer for the miniature: one token a word or mark, and one for the newline."""

import re

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from preceptor.data.records import PLAIN_CHAT_TEMPLATE
from preceptor.miniature import grammar as g
from preceptor.miniature import words as w
from preceptor.miniature.phrasing import PHRASINGS, constraint_text

PAD, END, UNK = SPECIAL = ("<pad>", "<end>", "<unk>")


def vocabulary() -> list[str]:
    """Every word that any template or table of the miniature can bring forth, sorted."""
    wishes = ("use", "avoid", "start", "question", "sentences", "max_words")
    constraints = [{"kind": kind, "word": "well", "count": n} for kind in wishes for n in (1, 2)]
    texts = [
        *(word for values in (*g.SLOTS.values(), *w.CATEGORIES.values()) for word in values),
        *(text for pair in w.CATEGORIES for text in (pair, w.SINGULAR[pair])),
        *(template for templates in g.TEMPLATES.values() for template in templates),
        *(form for forms in PHRASINGS.values() for side in forms for form in side),
        *(constraint_text(constraint) for constraint in constraints),
        *g.OPENERS, g.APOLOGY, *g.CONNECTIVES, *g.LEADS,
        "\n , . ? : user assistant names foods and for hello i am",
    ]  # fmt: skip
    return sorted({word for text in texts for word in g.words_of(re.sub(r"\{\w+\}|\|", " ", text))})


def miniature_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer; decoding an encoded text of the miniature gives the text back."""
    ids = {word: index for index, word in enumerate([*SPECIAL, *vocabulary()])}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNK))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"\n|[^\s.,?:]+|[.,?:]"), behavior="removed", invert=True
    )
    # Not the WordPiece decoder's own clean-up: it makes "don't" of "do not".
    marks = [decoders.Replace(f" {mark}", mark) for mark in ".,?:\n"]
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            *marks,
            decoders.Replace("\n ", "\n"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNK,
        chat_template=PLAIN_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
