"""GPT-3's quality classifier (arXiv:2005.14165, appendix A): good text against raw text.

Logistic regression on hashed words, as Spark's Tokenizer and HashingTF make them. A document of
score s is kept if a Pareto number is over 1 - s, so that some text of low score stays too:

    keep iff pareto(alpha) > 1 - s        P(keep) = (2 - s)^-alpha, alpha = 9

numpy's `pareto`, which the paper names, is the Lomax form that begins at 0. Two things the paper
does not say: counts are scaled to length 1 for each document, so that a score does not grow with
length, and the weights have a small penalty.
"""

import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.sparse
import scipy.special

from preceptor.corpus.texts import whole_file
from preceptor.corpus.words import hashed
from preceptor.statistics.bootstrap import wilson_interval

LOOKED_AT = 20_000
"""Characters of a document that are scored."""
HELD_OUT = 10
"""One in so many sampled documents is not trained on, and tells how well the classes part."""
_DRAWN = np.dtype([("draw", "<u8"), ("piece", "<u4"), ("at", "<u4")])
Cells = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Cells of the hashed words, and what stands in them; the squares sum to 1."""


def features(text: str, num_features: int) -> Cells:
    """How often each hashed word comes: lower case, split at blanks (Spark's Tokenizer)."""
    words = text[:LOOKED_AT].lower().split()
    cells, counts = np.unique(hashed(words) % np.uint64(num_features), return_counts=True)
    values = counts.astype(np.float32)
    norm = float(np.sqrt((values**2).sum())) or 1.0
    return cells.astype(np.int32), values / np.float32(norm)


@dataclass(frozen=True)
class Classifier:
    """Weights of the cells, and a bias."""

    weights: npt.NDArray[np.float32]
    bias: float

    def score(self, text: str) -> float:
        """The probability that a text is of the good kind."""
        cells, values = features(text, len(self.weights))
        logit = float((self.weights[cells] * values).sum(dtype=np.float64)) + self.bias
        return float(scipy.special.expit(logit))

    def save(self, path: Path) -> None:
        with whole_file(path) as file:
            np.save(file, np.append(self.weights, np.float32(self.bias)), allow_pickle=False)

    @classmethod
    def load(cls, path: Path) -> "Classifier":
        values = np.load(path, allow_pickle=False)
        return cls(values[:-1], float(values[-1]))


def keep_probability(score: float, alpha: float) -> float:
    """The closed form of the rule: (2 - score)^-alpha."""
    return float((2 - score) ** -alpha)


def pareto(uniform: float, alpha: float) -> float:
    """A Lomax number from a uniform one in (0, 1], as numpy's `pareto` draws it."""
    return float(uniform ** (-1 / alpha) - 1)


def is_kept(score: float, uniform: float, alpha: float) -> bool:
    """The paper's rule."""
    return pareto(uniform, alpha) > 1 - score


def fit(
    good: scipy.sparse.csr_matrix, raw: scipy.sparse.csr_matrix, l2: float
) -> tuple[Classifier, dict[str, float]]:
    """The classifier, and how well it parts documents that it was not trained on.

    Both classes weigh the same, however many documents each has.
    """
    trained = [matrix[np.arange(matrix.shape[0]) % HELD_OUT != 0] for matrix in (good, raw)]
    rows = scipy.sparse.vstack(trained).astype(np.float64).tocsr()
    sizes = [matrix.shape[0] for matrix in trained]
    signs = np.repeat([1.0, -1.0], sizes)
    shares = np.repeat([0.5 / max(1, size) for size in sizes], sizes)

    def loss(point: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weights, bias = point[:-1], point[-1]
        margin = signs * (rows @ weights + bias)
        value = (shares * np.logaddexp(0, -margin)).sum() + 0.5 * l2 * weights @ weights
        slope = -shares * signs * scipy.special.expit(-margin)
        return float(value), np.append(rows.T @ slope + l2 * weights, slope.sum())

    start = np.zeros(rows.shape[1] + 1)
    found = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}
    ).x.astype(np.float32)
    classifier = Classifier(found[:-1], float(found[-1]))
    scores = [held_out_scores(classifier, matrix) for matrix in (good, raw)]
    auc = _auc(scores[0], scores[1])
    low, high = auc_interval(auc, len(scores[0]), len(scores[1]))
    return classifier, {
        "good_documents": float(good.shape[0]),
        "raw_documents": float(raw.shape[0]),
        "good_mean_score": float(scores[0].mean()),
        "raw_mean_score": float(scores[1].mean()),
        "held_out_good": float(len(scores[0])),
        "held_out_raw": float(len(scores[1])),
        "held_out_auc": auc,
        "held_out_auc_low": low,
        "held_out_auc_high": high,
    }


def held_out_scores(
    classifier: Classifier, matrix: scipy.sparse.csr_matrix
) -> npt.NDArray[np.float64]:
    """Scores of those documents that `fit` did not train on."""
    held = matrix[np.arange(matrix.shape[0]) % HELD_OUT == 0]
    scores: npt.NDArray[np.float64] = scipy.special.expit(
        held @ classifier.weights + classifier.bias
    )
    return scores


def _auc(good: npt.NDArray[np.float64], raw: npt.NDArray[np.float64]) -> float:
    """The probability that a good document scores over a raw one; ties count half."""
    order = np.sort(raw)
    below = np.searchsorted(order, good, "left") + np.searchsorted(order, good, "right")
    return float(below.mean() / (2 * len(raw)))


def auc_interval(auc: float, num_good: int, num_raw: int) -> tuple[float, float]:
    """A 95 % interval of such a probability: Wilson's, as if the smaller class were the trials.

    Its variance is at most auc (1 - auc) / min(num_good, num_raw), whatever the scores'
    distributions (Birnbaum and Klose 1957), so it is rather too wide than too narrow.
    """
    return wilson_interval(auc, min(num_good, num_raw))


class Sample:
    """The documents of smallest draw of one piece, as features: any order takes the same ones.

    A draw that is held already is the same text again, and is not taken twice.
    """

    def __init__(self, most: int, num_features: int) -> None:
        self._most, self._num_features = most, num_features
        self._held: list[tuple[int, int, Cells]] = []
        self._draws: set[int] = set()
        self._count = 0

    def offer(self, draw: int, text: str) -> None:
        """Take it if its draw is among the smallest so far."""
        self._count += 1
        if draw in self._draws:
            return
        item = (-draw, self._count)
        if len(self._held) < self._most:
            heapq.heappush(self._held, (*item, features(text, self._num_features)))
        elif item > self._held[0][:2]:
            row = (*item, features(text, self._num_features))
            self._draws.discard(-heapq.heapreplace(self._held, row)[0])
        else:
            return
        self._draws.add(draw)

    def save(self, path: Path) -> None:
        held = sorted(self._held, key=lambda item: (-item[0], item[1]))
        sizes = [len(cells) for _, _, (cells, _) in held]
        with whole_file(path) as file:
            np.savez(
                file,
                draws=np.array([-draw for draw, _, _ in held], dtype=np.uint64),
                ends=np.cumsum([0, *sizes]).astype(np.int64),
                cells=np.concatenate([c for _, _, (c, _) in held] or [np.empty(0, np.int32)]),
                values=np.concatenate([v for _, _, (_, v) in held] or [np.empty(0, np.float32)]),
            )


def load_samples(paths: list[Path], most: int, num_features: int) -> scipy.sparse.csr_matrix:
    """Of all pieces' samples the documents of smallest draw, at most so many, in that order.

    A text that comes twice is taken once: documents are sampled before duplicates go. The draws are
    read first, and of each piece only those held that may be among the smallest; then the features
    of those that are.
    """
    held = np.empty(0, dtype=_DRAWN)
    for number, path in enumerate(paths):
        with np.load(path, allow_pickle=False) as opened:
            draws = opened["draws"]  # of an archive: the features are not read
        limit = held["draw"][-1] if len(held) == most else np.uint64(2**64 - 1)
        at = np.flatnonzero(draws <= limit)
        own = np.empty(len(at), dtype=_DRAWN)
        own["draw"], own["piece"], own["at"] = draws[at], number, at
        held = np.concatenate([held, own])
        held = held[np.argsort(held["draw"], kind="stable")]
        # An equal draw is the same text again. What is trained on must not be held out, too.
        held = held[np.append(True, held["draw"][1:] != held["draw"][:-1])[: len(held)]][:most]
    rows: dict[int, Cells] = {}
    for number in np.unique(held["piece"]).tolist():
        with np.load(paths[number], allow_pickle=False) as opened:
            ends, cells, values = opened["ends"], opened["cells"], opened["values"]
        for place in np.flatnonzero(held["piece"] == number).tolist():
            mine = slice(*ends[held["at"][place] :][:2])
            # Copied, or else all of a piece's features would be held with these.
            rows[place] = cells[mine].copy(), values[mine].copy()
    found = [rows[place] for place in range(len(held))]
    ends = np.cumsum([0, *(len(cells) for cells, _ in found)])
    cells = np.concatenate([c for c, _ in found] or [np.empty(0, np.int32)])
    values = np.concatenate([v for _, v in found] or [np.empty(0, np.float32)])
    return scipy.sparse.csr_matrix((values, cells, ends), shape=(len(found), num_features))
