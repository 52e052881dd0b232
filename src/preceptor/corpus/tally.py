"""What every step kept and dropped, under which reason, with examples for a person to judge."""

import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preceptor.corpus.texts import Text, read_json, write_json
from preceptor.corpus.words import draw
from preceptor.data.personal import mask_personal

NUM_EXAMPLES = 3
EXCERPT = 400
"""Characters of an example."""
Example = dict[str, Any]


class Tally:
    """Counts of one source in one pass; every document that enters a step leaves it counted.

    Examples are those of smallest draw, so that another order of work shows the same ones. Where
    personal data are masked, they are in the examples of all steps: the card goes from hand to
    hand, and `region` is then whose phone numbers are known.
    """

    def __init__(self, stream: int, region: str | None = None) -> None:
        self._stream = stream
        self._region = region
        self._began = time.process_time()
        self.steps: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = defaultdict(float)
        self.extra: Counter[str] = Counter()
        self._kept: dict[str, list[Any]] = defaultdict(list)
        self._told: dict[str, list[Any]] = defaultdict(list)
        self._dropped: dict[tuple[str, str], list[Any]] = defaultdict(list)

    def kept(self, step: str, text: Text, detail: str = "", near: str = "") -> None:
        """A document goes on; what there is to tell of it is in examples of their own."""
        counts = self._step(step)
        counts["kept"] += 1
        counts["kept_chars"] += len(text.text)
        self._show(self._kept[step], text)
        if detail:
            self._show(self._told[step], text, detail, near)

    def dropped(self, step: str, text: Text, reason: str, detail: str = "", near: str = "") -> None:
        """A document ends here; an example is shown around the words of `near`."""
        self.counted_out(step, text, reason)
        self._show(self._dropped[step, reason], text, detail, near)

    def counted_out(self, step: str, text: Text, reason: str) -> None:
        """A document ends here, and its example is shown elsewhere."""
        counts = self._step(step)["dropped"].setdefault(reason, [0, 0])
        counts[0] += 1
        counts[1] += len(text.text)

    def unreadable(self, step: str, reason: str, where: str) -> None:
        """A row that never became a document; its place stands for it."""
        counts = self._step(step)["dropped"].setdefault(reason, [0, 0])
        counts[0] += 1
        shown = self._dropped[step, reason]
        if len(shown) < NUM_EXAMPLES:
            shown.append((-len(shown), where, "", ""))

    def _step(self, step: str) -> dict[str, Any]:
        return self.steps.setdefault(step, {"kept": 0, "kept_chars": 0, "dropped": {}})

    def _show(self, shown: list[Any], text: Text, detail: str = "", near: str = "") -> None:
        place = -draw(text.origin, self._stream)
        if len(shown) == NUM_EXAMPLES and place < shown[0][0]:
            return
        shown_text, told = excerpt(text.text, self._region, near), excerpt(detail, self._region)
        heapq.heappush(shown, (place, text.place, shown_text, told))
        if len(shown) > NUM_EXAMPLES:
            heapq.heappop(shown)

    def as_json(self) -> dict[str, Any]:
        """Counts and examples as plain values."""
        return {
            "steps": self.steps,
            "extra": dict(self.extra),
            "kept_examples": {step: _rows(shown) for step, shown in self._kept.items()},
            "told_examples": {step: _rows(shown) for step, shown in self._told.items()},
            "dropped_examples": [
                {"step": step, "reason": reason, "examples": _rows(shown)}
                for (step, reason), shown in self._dropped.items()
            ],
        }

    def save(self, path: Path) -> None:
        """Write it, whole or not at all; what the clock said stands apart, beside it."""
        write_json(path, self.as_json())
        total = time.process_time() - self._began
        cost = {"steps": list(self.seconds.items()), "total": total}
        write_json(path.with_suffix(".cost.json"), cost)

    def timed(self, step: str, texts: Iterator[Text]) -> Iterator[Text]:
        """The same texts; the processor's time until each comes is counted, earlier steps' too."""
        while True:
            began = time.process_time()
            text = next(texts, None)
            self.seconds[step] += time.process_time() - began
            if text is None:
                return
            yield text


def excerpt(text: str, region: str | None = None, near: str = "") -> str:
    """What a text says around these words, or where it begins; masked, where a region is named."""
    at = max(0, text.lower().find(near.lower()))
    begin = max(0, at - 2 * EXCERPT)
    # More than is shown is masked, so that no number is cut in two before it is known as one.
    part = text[begin : at + 2 * EXCERPT]
    if region is not None:
        part = str(mask_personal(part, region)[0])
    start = max(0, part.lower().find(near.lower()) - EXCERPT // 2)
    if begin and start < EXCERPT // 2:  # the words are masked, or nearly all that is before them
        return excerpt(text, region)
    shown = part[start : start + EXCERPT]
    if start + len(shown) < len(part) or at + 2 * EXCERPT < len(text):
        shown = shown.rstrip() + " …"
    # From a word's beginning on, where there is one.
    return "… " + shown[shown.find(" ", 0, 30) + 1 :] if start else shown


def merged(paths: list[Path]) -> dict[str, Any]:
    """Several tallies of one source as one."""
    steps: dict[str, dict[str, Any]] = {}
    extra: Counter[str] = Counter()
    shown: dict[str, dict[str, list[Example]]] = {"kept_examples": {}, "told_examples": {}}
    dropped: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for path in paths:
        found = read_json(path)
        extra.update(found["extra"])
        for step, counts in found["steps"].items():
            sums = steps.setdefault(step, {"kept": 0, "kept_chars": 0, "dropped": {}})
            sums["kept"] += counts["kept"]
            sums["kept_chars"] += counts["kept_chars"]
            for reason, (documents, chars) in counts["dropped"].items():
                before = sums["dropped"].setdefault(reason, [0, 0])
                sums["dropped"][reason] = [before[0] + documents, before[1] + chars]
        for kind, by_step in shown.items():
            for step, rows in found[kind].items():
                by_step[step] = _few([*by_step.get(step, []), *rows])
        for group in found["dropped_examples"]:
            key = group["step"], group["reason"]
            dropped[key] = _few([*dropped[key], *group["examples"]])
    return {
        "steps": steps,
        "extra": dict(extra),
        **shown,
        "dropped_examples": dict(dropped),
    }


def _rows(shown: list[Any]) -> list[Example]:
    return [
        {"draw": -drawn, "place": place, "text": text, "detail": detail}
        for drawn, place, text, detail in sorted(shown, reverse=True)
    ]


def _few(rows: list[Example]) -> list[Example]:
    return sorted(rows, key=lambda row: (row["draw"], row["place"], row["text"]))[:NUM_EXAMPLES]
