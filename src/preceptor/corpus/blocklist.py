"""Words that nobody wants in a corpus, out of a file: one word or several in a row on a line."""

from dataclasses import dataclass
from pathlib import Path

from preceptor.corpus.words import words_of
from preceptor.errors import DataError


@dataclass(frozen=True)
class Blocklist:
    """By its first word, every entry as its words; without case and punctuation."""

    entries: dict[str, list[tuple[str, ...]]]

    @classmethod
    def read(cls, path: str) -> "Blocklist":
        """Raises DataError: no such file, not UTF-8, or no word in it."""
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise DataError(f"{path}: no such file. A blocklist has a word on each line.") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 at byte {error.start}.") from None
        entries: dict[str, list[tuple[str, ...]]] = {}
        for line in lines:
            if words := words_of(line.partition("#")[0]):
                entries.setdefault(words[0], []).append(tuple(words))
        if not entries:
            raise DataError(f"{path}: no word in it. A blocklist has a word on each line.")
        return cls(entries)

    def found_in(self, text: str) -> tuple[float, str]:
        """Which share of a text's words is blocked, each once, and the first entry that it has."""
        words = words_of(text)
        blocked, end, first = 0, 0, ""  # the words before `end` are counted
        for at, word in enumerate(words):
            for entry in self.entries.get(word, ()):
                if tuple(words[at : at + len(entry)]) == entry:
                    first = first or " ".join(entry)
                    blocked += max(0, at + len(entry) - max(at, end))
                    end = max(end, at + len(entry))
        return blocked / max(1, len(words)), first
