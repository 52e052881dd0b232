"""In which language a text is (InstructGPT section 3.2, Table 8: 96 % English by langid.py)."""

import functools
from dataclasses import dataclass
from typing import Any

UNDETERMINED = "und"
"""ISO 639-2's code for text in which no language can be seen: numbers, code of symbols, nothing."""
LEAST_SCORE = 0.5
"""Below it the classifier guesses: "Write a poem." would be Romanian."""


@dataclass(frozen=True)
class Language:
    """A code of ISO 639-1 or `und`, and the probability of what was likeliest."""

    code: str
    score: float


def identify_language(text: str) -> Language:
    """The classifier's likeliest language; undetermined where it is unsure, as of few words."""
    if not any(character.isalpha() for character in text):
        return Language(UNDETERMINED, 0.0)
    code, score = _identifier().classify(text[:10_000])
    return Language(str(code) if score >= LEAST_SCORE else UNDETERMINED, float(score))


def known_languages() -> list[str]:
    """The codes that the classifier can give."""
    return sorted(_identifier().nb_classes)


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
