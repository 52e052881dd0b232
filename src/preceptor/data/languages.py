"""In which language a text is (InstructGPT section 3.2, Table 8: 96 % English by langid.py)."""

import functools
from dataclasses import dataclass
from typing import Any

UNDETERMINED = "und"
"""ISO 639-2's code for text in which no language can be seen: numbers, code of symbols, nothing."""


@dataclass(frozen=True)
class Language:
    """A code of ISO 639-1, and the classifier's probability; short texts are often misjudged."""

    code: str
    score: float


def identify_language(text: str) -> Language:
    """The likeliest of the classifier's languages; undetermined where there are no letters."""
    if not any(character.isalpha() for character in text):
        return Language(UNDETERMINED, 0.0)
    code, score = _identifier().classify(text[:10_000])
    return Language(str(code), float(score))


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
