"""The steps in order, grouped into passes: what can be done with one document in hand is one pass.

A pass ends where something must be known of all documents: what the classifier learns from, which
are duplicates, how common a run of words is, how many tokens a source has. Between two passes the
documents wait on the disk. Each task of a pass reads one piece and writes files of its own, whole
or not at all, so that tasks run anywhere, in any order, and again.

    benchmarks  the runs of words that must not be in the text
    toxicity    learns what is toxic from labelled examples
    read        files -> documents: languages, rules on quality; a sample for the classifier
    train       the classifier
    score       the classifier and the Pareto rule; signatures and bands
    bands       candidates for duplicates, one band a task
    duplicates  which documents go
    unique      without duplicates; counts how many documents have which run
    tokens      without benchmarks, blocked words, toxic text, personal data; tokens of each piece
    mixture     how often each document is seen
    shards      the stream of tokens in the order of training
    card        corpus.json and corpus.html, last
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from preceptor.corpus import classifier, contamination, duplicates, toxicity
from preceptor.corpus.plan import (
    TEXT_PASSES,
    Plan,
    classifier_path,
    sample_path,
    toxicity_path,
)
from preceptor.corpus.reading import read_piece
from preceptor.corpus.steps import steps_of
from preceptor.corpus.tally import NUM_EXAMPLES, Tally, excerpt
from preceptor.corpus.texts import Text, read_texts, whole_file, write_json, written
from preceptor.corpus.words import draw
from preceptor.errors import DataError

NOTICED = {"read": "sample", "unique": "search"}
"""What a pass learns of the documents that it leaves, by the name of its cost."""


def run_texts(name: str, plan: Plan, _: Any, piece: int, __: int) -> None:
    """One task of a pass over documents: those that wait, through the steps, to where they wait."""
    source = plan.pieces[piece].source
    tally = Tally(plan.stream("examples"), plan.region)
    at = TEXT_PASSES.index(name)
    before = next((p for p in reversed(TEXT_PASSES[:at]) if plan.has(p)), None)
    if before is None:
        texts, steps = read_piece(
            plan.pieces[piece],
            tally,
            on_error=plan.recipe.on_error,
            max_chars=plan.recipe.max_chars,
        ), TEXT_PASSES[: at + 1]  # fmt: skip
        texts = tally.timed("read", texts)
    else:
        texts, steps = read_texts(plan.texts(before, piece)), TEXT_PASSES[: at + 1]
        steps = steps[TEXT_PASSES.index(before) + 1 :]
        texts = tally.timed("load", texts)
    for step in steps:
        for label, transform in steps_of(step, plan, piece, source.classify, tally):
            texts = tally.timed(label, transform(texts))
    if name == "tokens":
        from preceptor.corpus.tokens import write_tokens  # transformers takes its time

        write_tokens(plan, piece, texts)
    else:
        if name in NOTICED:
            texts = tally.timed(NOTICED[name], _noticed(name, plan, piece, texts))
        texts = tally.timed("write", written(plan.texts(name, piece), texts))
        if name == "score":
            assert plan.recipe.duplicates is not None
            texts = tally.timed(
                "signatures", duplicates.signed(texts, plan.work, piece, plan.recipe.duplicates)
            )
        for _text in texts:
            pass
    tally.save(plan.tally(name, piece))


def _noticed(name: str, plan: Plan, piece: int, texts: Iterator[Text]) -> Iterator[Text]:
    """What a pass learns of the documents that it writes: a sample, or the runs that they have."""
    recipe, source = plan.recipe, plan.pieces[piece].source
    if name == "read" and (source.is_good or source.classify):
        assert recipe.classifier is not None
        sample = classifier.Sample(recipe.classifier.max_documents, recipe.classifier.num_features)
        stream = plan.stream("sample")
        for text in texts:
            sample.offer(draw(text.origin, stream), text.text)
            yield text
        sample.save(sample_path(plan, piece))
    elif name == "unique":
        assert recipe.decontaminate is not None
        index = contamination.Benchmarks.load(plan.work).runs
        touched, seen = [], [np.empty(0, dtype=np.uint64)]
        for at, text in enumerate(texts):
            hits = contamination.hits_in(text.text, index, recipe.decontaminate.run)
            if len(hits):
                touched.append(at)
                seen.append(hits)
            yield text
        numbers, counts = np.unique(np.concatenate(seen), return_counts=True)
        with whole_file(plan.work / "hits" / f"{piece:05d}.npy") as file:
            np.save(file, np.array(touched, dtype=np.uint32), allow_pickle=False)
        with whole_file(plan.work / "hits" / f"{piece:05d}.runs.npz") as file:
            np.savez(file, runs=numbers, counts=counts.astype(np.uint32))
    else:
        yield from texts


def train_classifier(plan: Plan, _: Any, __: int, ___: int) -> None:
    """The classifier, on good sources against raw ones.

    Raises:
        DataError: one of the two has less than two documents, and `on_error` is "refuse".
    """
    config = plan.recipe.classifier
    assert config is not None
    found = {}
    for kind, is_mine in (
        ("good", lambda piece: piece.source.is_good),
        ("raw", lambda piece: piece.source.classify),
    ):
        paths = [sample_path(plan, number) for number in plan.numbers(is_mine)]
        found[kind] = classifier.load_samples(paths, config.max_documents, config.num_features)
    counts = {kind: matrix.shape[0] for kind, matrix in found.items()}
    if min(counts.values()) < 2:
        kind = min(counts, key=lambda name: counts[name])
        one = counts[kind] == 1
        told = f"{counts[kind]} document{' that is' if one else 's that are'} {kind}"
        if plan.recipe.on_error == "refuse":
            raise DataError(
                f"classifier: {told}, and it learns from two classes. Mark a source is_good and "
                "another classify, both with text, or leave the classifier out."
            )
        write_json(plan.work / "classifier.json", {"left_out": told})
        return
    model, facts = classifier.fit(found["good"], found["raw"], config.l2)
    model.save(classifier_path(plan))
    write_json(plan.work / "classifier.json", {name: round(v, 6) for name, v in facts.items()})


def train_toxicity(plan: Plan, _: Any, __: int, ___: int) -> None:
    """What is toxic, before anything is read: a wrong file of examples is told at once."""
    config = plan.recipe.toxicity
    assert config is not None
    folder, stream = toxicity_path(plan).parent, plan.stream("toxicity")
    facts = toxicity.train(config, plan.recipe.on_error, folder, stream)
    write_json(plan.work / "toxicity.json", facts)


def find_candidates(plan: Plan, _: Any, band: int, __: int) -> None:
    """Pairs of documents that are equal in this band."""
    config = plan.recipe.duplicates
    assert config is not None
    found = duplicates.candidates(plan.work, len(plan.pieces), band, config)
    with whole_file(plan.work / "candidates" / f"{band:05d}.npy") as file:
        np.save(file, found, allow_pickle=False)


def find_duplicates(plan: Plan, _: Any, __: int, ___: int) -> None:
    """Candidates that agree, who of them goes, and a few pairs for a person to judge."""
    config = plan.recipe.duplicates
    assert config is not None
    pairs = duplicates.read_pairs(duplicates.candidate_files(plan.work))
    agreed = duplicates.agreeing(pairs, plan.work, config)
    gone = duplicates.removed(agreed)
    for piece, rows in gone.items():
        with whole_file(plan.work / "removed" / f"{piece:05d}.npy") as file:
            np.save(file, rows, allow_pickle=False)
    write_json(plan.work / "duplicates.json", {
        "candidates": len(pairs), "agreeing": len(agreed), "examples": _pairs(plan, gone),
    })  # fmt: skip


def _pairs(plan: Plan, gone: dict[int, Any]) -> list[dict[str, str]]:
    """A few documents that went, each beside the one that stays: the first of spread-out pieces."""
    chosen = []
    numbers = sorted(gone)
    for piece in numbers[:: max(1, len(numbers) // NUM_EXAMPLES)][: 2 * NUM_EXAMPLES]:
        for row in gone[piece][:1]:
            chosen.append(((piece, int(row["at"])), (int(row["piece"]), int(row["of"]))))
    wanted: dict[int, set[int]] = {}
    for pair in chosen:
        for piece, at in pair:
            wanted.setdefault(piece, set()).add(at)
    found = {
        (piece, at): text
        for piece, ats in wanted.items()
        for at, text in enumerate(read_texts(plan.texts("score", piece)))
        if at in ats
    }
    return [
        {
            "dropped": excerpt(found[a].text, plan.region),
            "dropped_place": found[a].place,
            "kept": excerpt(found[b].text, plan.region),
            "kept_place": found[b].place,
        }
        for a, b in chosen
    ]


def index_benchmarks(plan: Plan, _: Any, __: int, ___: int) -> None:
    """All runs of words of the benchmarks."""
    assert plan.recipe.decontaminate is not None
    contamination.Benchmarks.read(plan.recipe.decontaminate).save(plan.work)


def find_common(plan: Plan, _: Any, __: int, ___: int) -> None:
    """Runs that come in so many documents that they are no benchmark's own."""
    assert plan.recipe.decontaminate is not None
    counts: Counter[int] = Counter()
    for number in range(len(plan.pieces)):
        path = plan.work / "hits" / f"{number:05d}.runs.npz"
        with np.load(path, allow_pickle=False) as found:
            for run, count in zip(found["runs"].tolist(), found["counts"].tolist(), strict=True):
                counts[run] += count
    most = plan.recipe.decontaminate.max_documents
    common = sorted(run for run, count in counts.items() if count > most)
    with whole_file(plan.work / "common.npy") as file:
        np.save(file, np.array(common, dtype=np.uint64), allow_pickle=False)
