"""In which language a text is (InstructGPT section 3.2, Table 8: 96 % English by langid.py)."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
    """The library's classifier; features of all bytes are looked up together, not one by one.

    Its model is an automaton over bytes: a state says which runs of bytes end here. The longest
    such run has `reach` bytes, so that a state hangs on the last `reach` bytes alone, and all
    states of a text are found in as many steps as that.
    """
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    class AtOnce(LanguageIdentifier):  # type: ignore[misc]
        __slots__ = ("following", "reach", "row_starts", "said_at")

        def __init__(self, weights: Any, *others: Any, **named: Any) -> None:
            # The file has 16 bits a weight; to widen those of each text takes longer than the rest.
            super().__init__(weights.astype(np.float32), *others, **named)
            self.following = np.asarray(self.tk_nextmove)  # [rows x 256], flat
            rows = np.asarray(self.tk_row, dtype=np.int64)  # [states]
            self.row_starts = rows * 256
            self.said_at = np.asarray(self.tk_output)  # [states]: a feature, or -1
            self.reach = _longest_way(self.following.reshape(-1, 256), rows)

        def _raw_score(self, text: bytes) -> npt.NDArray[np.float32]:
            states = self.states(text)
            features = self.said_at.take(states)
            features = features[features >= 0]
            if len(features) == 0:
                return super()._raw_score(text)  # type: ignore[no-any-return]
            found, counts = np.unique(features, return_counts=True)
            weights = np.log1p(counts.astype(np.float32))
            return weights @ self.nb_ptc[found] + self.nb_pc  # type: ignore[no-any-return]

        def states(self, text: bytes) -> npt.NDArray[np.int64]:
            """The automaton's state after each byte, [N]."""
            # 0xFF is in no UTF-8, so it leaves the automaton at its start.
            padded = np.frombuffer(b"\xff" * (self.reach - 1) + text, np.uint8).astype(np.int64)
            found = np.zeros(len(text), dtype=np.int64)
            for at in range(self.reach):
                cells = self.row_starts.take(found)
                cells += padded[at : at + len(text)]
                found = self.following.take(cells)
            return found

    return AtOnce.from_model_file(MODEL_FILE, norm_probs=True)


def _longest_way(following: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> int:
    """Bytes from the start to the state that is farthest from it, by the shortest way."""
    seen = np.zeros(len(rows), dtype=bool)
    seen[0] = True
    newest, steps = np.flatnonzero(seen), 0
    while len(newest):
        reached = np.zeros(len(rows), dtype=bool)
        reached[following[np.unique(rows[newest])]] = True
        newest = np.flatnonzero(reached & ~seen)
        seen |= reached
        steps += 1
    return steps - 1
