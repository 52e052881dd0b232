"""Text like a file's toxic examples: the quality classifier's regression, learned from labels.

A score tells whether a document's words are more like the toxic examples' or like the others',
both weighing the same. It is no probability that a page is toxic, and of text unlike all examples
it knows nothing: learned from answers in a chat, it takes a recipe for toxic, since neither kind is
like it. So examples of the sources' own kind belong to it (`harmless`), and a step that drops much
is told on the card.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from preceptor.corpus.classifier import Sample, fit, held_out_scores, load_samples
from preceptor.corpus.reading import reason_of, text_in
from preceptor.corpus.recipe import OnError, ToxicityConfig
from preceptor.corpus.words import draw, origin_of
from preceptor.data.rows import Placed, read_rows
from preceptor.errors import DataError
from preceptor.statistics.bootstrap import wilson_interval

MANY = 0.05
"""Of an ordinary corpus less is toxic; what drops more has learned something else."""
LEAST = 20
"""Examples of each kind at least; of so many two are not trained on, and tell what it is worth."""
AUC = ("held_out_auc", "held_out_auc_low", "held_out_auc_high")
TRUTH = {"true": 1.0, "false": 0.0}
"""How tables write it."""


def train(config: ToxicityConfig, on_error: OnError, folder: Path, stream: int) -> dict[str, Any]:
    """Learn from the labelled examples; the classifier goes to `folder/classifier.npy`.

    Returns:
        How many examples of each kind it has seen, and of those that it was not trained on: the
        probability that a toxic one scores over another (`held_out_auc`), and which share of each
        kind reaches the threshold, each with its 95 % interval. Where it was left out, why
        (`left_out`).

    Raises:
        DataError: a row without text or label, or too few examples of a kind, and `on_error` is
            "refuse".
    """
    samples = {
        kind: Sample(config.max_documents, config.num_features) for kind in ("toxic", "other")
    }
    seen: set[int] = set()
    broken: Counter[str] = Counter()
    for where, found in examples(config):
        if isinstance(found, DataError):
            if on_error == "refuse":
                raise found
            broken[reason_of(found, where)] += 1
            continue
        text, is_toxic = found
        origin = origin_of(text)
        if origin not in seen:  # what is trained on must not be held out, too
            seen.add(origin)
            samples["toxic" if is_toxic else "other"].offer(draw(origin, stream), text)
    matrices = {}
    for kind, sample in samples.items():
        sample.save(folder / f"{kind}.npz")
        paths = [folder / f"{kind}.npz"]
        matrices[kind] = load_samples(paths, config.max_documents, config.num_features)
    counts = {kind: matrix.shape[0] for kind, matrix in matrices.items()}
    for kind, count in counts.items():
        if count < LEAST:
            told = f"{count} examples that are {'toxic' if kind == 'toxic' else 'not toxic'}"
            if on_error == "refuse":
                raise DataError(
                    f"toxicity.files: {told}, and it takes {LEAST} of each kind to learn. Give "
                    f"more, or another toxic_from (it is {config.toxic_from:g})."
                )
            return {"left_out": told, "broken": dict(broken)}
    model, facts = fit(matrices["toxic"], matrices["other"], config.l2)
    model.save(folder / "classifier.npy")
    scores = {kind: held_out_scores(model, matrix) for kind, matrix in matrices.items()}
    shares = {kind: float(np.mean(s >= config.threshold)) for kind, s in scores.items()}
    return {
        "examples": counts,
        "held_out": {kind: len(found) for kind, found in scores.items()},
        **{key: round(facts[key], 6) for key in AUC},
        "reach_threshold": {kind: round(share, 6) for kind, share in shares.items()},
        "reach_threshold_interval": {
            kind: [round(end, 6) for end in wilson_interval(share, len(scores[kind]))]
            for kind, share in shares.items()
        },
        "broken": dict(broken),
    }


def examples(config: ToxicityConfig) -> Iterator[Placed]:
    """Each row's place, and its text with whether it is toxic, or the `DataError` of the row."""
    for path in config.files:
        for where, row in read_rows(path):
            yield where, row if isinstance(row, DataError) else _example_in(row, config, where)
    for path in config.harmless:
        for where, row in read_rows(path):
            text = row if isinstance(row, DataError) else _text_in(row, "text", where)
            yield where, text if isinstance(text, DataError) else (text, False)


def _text_in(row: Any, key: str, where: str) -> str | DataError:
    text = text_in(row, key, where)
    if isinstance(text, str) and not text.strip():
        return DataError(f'{where}: "{key}" is empty, and an example is a text.')
    return text


def _example_in(row: Any, config: ToxicityConfig, where: str) -> tuple[str, bool] | DataError:
    text = _text_in(row, config.text_key, where)
    if isinstance(text, DataError):
        return text
    key, meta = config.label_key, row.get("meta")
    label = row.get(key, meta.get(key) if isinstance(meta, dict) else None)
    if isinstance(label, str):  # a cell of a table
        label = TRUTH.get(label.strip().lower(), label)
    try:
        number = math.nan if label is None else float(label)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        told = f'{where}: "{key}" must be true, false or a number'
        return DataError(f"{told}. label_key names another key.")
    return text, number >= config.toxic_from
