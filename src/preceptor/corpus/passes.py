"""The steps in order, grouped into passes: what can be done with one document in hand is one pass.

A pass ends where something must be known of all documents: what the classifier learns from, which
are duplicates, how common a run of words is, how many tokens a source has. Between two passes the
documents wait on the disk. Each task of a pass reads one piece and writes files of its own, whole
or not at all, so that tasks run anywhere, in any order, and again.

    toxicity    learns what is toxic from labelled examples
    read        files -> documents: languages, rules on quality; a sample for the classifier
    train       the classifier
    score       the classifier and the Pareto rule; signatures and bands
    bands       candidates for duplicates (datatrove)
    duplicates  which documents go
    benchmarks  the runs of words that must not be in the text
    unique      without duplicates; counts how many documents have which run
    tokens      without benchmarks, blocked words, toxic text, personal data; tokens of each piece
    mixture     how often each document is seen
    shards      the stream of tokens in the order of training
    card        corpus.json and corpus.html, last
"""

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from preceptor.corpus import classifier, contamination, duplicates, quality, toxicity
from preceptor.corpus.blocklist import Blocklist
from preceptor.corpus.pieces import PassedOver, Piece
from preceptor.corpus.reading import read_piece
from preceptor.corpus.recipe import CorpusRecipe
from preceptor.corpus.tally import NUM_EXAMPLES, Tally, excerpt
from preceptor.corpus.texts import Text, read_json, read_texts, whole_file, write_json, written
from preceptor.corpus.words import draw, fraction_of
from preceptor.data.personal import mask_personal
from preceptor.errors import DataError
from preceptor.randomness import derived_seed

TEXT_PASSES = ("read", "score", "unique", "tokens")
NOTICED = {"read": "sample", "unique": "search"}
"""What a pass learns of the documents that it leaves, by the name of its cost."""


@dataclass(frozen=True)
class Plan:
    """What every task knows: the recipe, the pieces, where things are, what nobody reads."""

    recipe: CorpusRecipe
    pieces: tuple[Piece, ...]
    out: Path
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def work(self) -> Path:
        return self.out / "work"

    def texts(self, name: str, piece: int) -> Path:
        """Where the documents of a piece wait after a pass."""
        return self.work / name / f"{piece:05d}.jsonl.zst"

    def tally(self, name: str, piece: int) -> Path:
        return self.work / "tally" / name / f"{piece:05d}.json"

    def stream(self, purpose: str) -> int:
        """The number of a random stream."""
        return derived_seed(self.recipe.seed, f"corpus/{purpose}")

    def has(self, name: str) -> bool:
        """Whether documents wait on the disk after this pass."""
        needed = {
            "read": self.recipe.classifier,
            "score": self.recipe.duplicates,
            "unique": self.recipe.decontaminate,
        }
        return needed[name] is not None

    @property
    def region(self) -> str | None:
        """Whose phone numbers are masked; None where personal data are not."""
        return None if self.recipe.personal is None else self.recipe.personal.region

    def numbers(self, is_mine: Callable[[Piece], bool]) -> list[int]:
        return [number for number, piece in enumerate(self.pieces) if is_mine(piece)]


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
        for label, transform in _transforms(step, plan, piece, source.classify, tally):
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


Transform = Callable[[Iterator[Text]], Iterator[Text]]


def _transforms(
    name: str, plan: Plan, piece: int, is_raw: bool, tally: Tally
) -> Iterator[tuple[str, Transform]]:
    """The steps of one pass that the recipe asks for, in order, with their names."""
    recipe = plan.recipe
    if name == "read":
        if recipe.language is not None:
            yield "language", partial(in_languages, recipe.language.keep, tally)
        if recipe.quality is not None:
            yield "quality", partial(good_enough, recipe.quality, tally)
    elif name == "score":
        if recipe.classifier is not None and is_raw and classifier_path(plan).is_file():
            yield "classifier", partial(scored, plan, tally)
    elif name == "unique":
        if recipe.duplicates is not None:
            yield "duplicates", partial(without_duplicates, plan, piece, tally)
    elif name == "tokens":
        if recipe.decontaminate is not None:
            yield "decontaminate", partial(decontaminated, plan, piece, tally)
        if recipe.blocklist is not None:
            yield "blocklist", partial(without_blocked, recipe.blocklist, tally)
        if recipe.toxicity is not None and toxicity_path(plan).is_file():
            yield "toxicity", partial(without_toxic, plan, tally)
        if recipe.personal is not None:
            yield "personal", partial(masked, recipe.personal.region, tally)


def in_languages(keep: list[str], tally: Tally, texts: Iterator[Text]) -> Iterator[Text]:
    """Step `language`."""
    for text in texts:
        if problem := quality.language_problem(text.text, keep):
            tally.dropped("language", text, *problem)
        else:
            tally.kept("language", text)
            yield text


def good_enough(rules: Any, tally: Tally, texts: Iterator[Text]) -> Iterator[Text]:
    """Step `quality`."""
    for text in texts:
        if problem := quality.quality_problem(text.text, rules):
            tally.dropped("quality", text, *problem)
        else:
            tally.kept("quality", text)
            yield text


def scored(plan: Plan, tally: Tally, texts: Iterator[Text]) -> Iterator[Text]:
    """Step `classifier`: the paper's Pareto rule, with a draw of the document's own."""
    config = plan.recipe.classifier
    assert config is not None
    model = classifier.Classifier.load(classifier_path(plan))
    stream = plan.stream("pareto")
    for text in texts:
        score = model.score(text.text)
        tally.extra[f"score {min(9, int(score * 10))}"] += 1
        uniform = fraction_of(draw(text.origin, stream))
        if classifier.is_kept(score, uniform, config.alpha):
            tally.extra[f"kept score {min(9, int(score * 10))}"] += 1
            tally.kept("classifier", text, f"score {score:.2f}")
            yield text
        else:
            tally.dropped("classifier", text, "not drawn by the Pareto rule", f"score {score:.2f}")


def without_duplicates(
    plan: Plan, piece: int, tally: Tally, texts: Iterator[Text]
) -> Iterator[Text]:
    """Step `duplicates`; the pass that found them has the examples."""
    path = plan.work / "removed" / f"{piece:05d}.npy"
    gone: dict[int, int] = {}
    if path.is_file():
        rows = np.load(path, allow_pickle=False)
        gone = dict(zip(rows["at"].tolist(), rows["piece"].tolist(), strict=True))
    own = plan.pieces[piece].source.name
    for at, text in enumerate(texts):
        if at not in gone:
            tally.kept("duplicates", text)
            yield text
            continue
        of = plan.pieces[gone[at]].source.name
        reason = "near-duplicate in the same source" if of == own else f"near-duplicate in {of}"
        tally.counted_out("duplicates", text, reason)


def decontaminated(plan: Plan, piece: int, tally: Tally, texts: Iterator[Text]) -> Iterator[Text]:
    """Step `decontaminate`: documents in which the pass before saw a run are cut, or go."""
    config = plan.recipe.decontaminate
    assert config is not None
    index = benchmark_index(plan)
    touched = set(np.load(plan.work / "hits" / f"{piece:05d}.npy", allow_pickle=False).tolist())
    for at, text in enumerate(texts):
        cut = contamination.cut_out(text.text, index, config) if at in touched else None
        if cut is None:
            tally.kept("decontaminate", text)
            yield text
        elif cut.num_pieces > config.max_pieces:
            told = f"{cut.num_pieces} pieces; {cut.cut}"
            tally.dropped("decontaminate", text, "cut into more than max_pieces", told)
        elif not cut.pieces:
            tally.dropped("decontaminate", text, "nothing long enough is left", cut.cut)
        else:
            left = text.with_text(" […] ".join(cut.pieces))
            tally.kept("decontaminate", left, f"cut: {cut.cut}")
            tally.extra["documents cut"] += 1
            tally.extra["pieces of cut documents"] += len(cut.pieces)
            for part, piece_text in enumerate(cut.pieces):
                yield text.with_text(piece_text, part)


def without_blocked(config: Any, tally: Tally, texts: Iterator[Text]) -> Iterator[Text]:
    """Step `blocklist`."""
    blocklist = Blocklist.read(config.file)
    for text in texts:
        share, first = blocklist.found_in(text.text)
        if share > config.max_fraction:
            tally.dropped("blocklist", text, "blocked words", f"{share:.2%}, first: {first}")
        else:
            tally.kept("blocklist", text)
            yield text


def without_toxic(plan: Plan, tally: Tally, texts: Iterator[Text]) -> Iterator[Text]:
    """Step `toxicity`: nothing is drawn, the threshold alone decides."""
    assert plan.recipe.toxicity is not None
    model = classifier.Classifier.load(toxicity_path(plan))
    for text in texts:
        score = model.score(text.text)
        tally.extra[f"toxic score {min(9, int(score * 10))}"] += 1
        if score >= plan.recipe.toxicity.threshold:
            tally.dropped("toxicity", text, "like the toxic examples", f"score {score:.2f}")
        else:
            tally.kept("toxicity", text, f"score {score:.2f}")
            yield text


def masked(region: str, tally: Tally, texts: Iterator[Text]) -> Iterator[Text]:
    """Step `personal`: nothing is dropped, what was masked is counted."""
    for text in texts:
        clean, counts = mask_personal(text.text, region)
        assert isinstance(clean, str)
        tally.extra.update({f"masked {kind}": count for kind, count in counts.items()})
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        result = text.with_text(clean) if counts else text
        tally.kept("personal", result, found)
        yield result


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
        index = np.load(plan.work / "benchmarks.npy", allow_pickle=False)
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


def find_duplicates(plan: Plan, _: Any, __: int, ___: int) -> None:
    """Candidates that agree, who of them goes, and a few pairs for a person to judge."""
    config = plan.recipe.duplicates
    assert config is not None
    pairs = duplicates.read_pairs(duplicates.band_files(plan.work))
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
    index = contamination.benchmark_runs(plan.recipe.decontaminate)
    with whole_file(plan.work / "benchmarks.npy") as file:
        np.save(file, index, allow_pickle=False)


def benchmark_index(plan: Plan) -> Any:
    """The runs that are cut out: those of the benchmarks that few enough documents have."""
    assert plan.recipe.decontaminate is not None
    index = np.load(plan.work / "benchmarks.npy", allow_pickle=False)
    common = np.load(plan.work / "common.npy", allow_pickle=False)
    return index[~contamination.is_in(index, common)]


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


_BEGAN: list[float] = []
"""The processor's time when this process began its task; a process has one task at a time."""


def begin_cost(*_: Any) -> None:
    """Before a task of a pass."""
    _BEGAN[:] = [time.process_time()]


def note_cost(plan: Plan, name: str, _: Any, task: int, __: int) -> None:
    """After a task of a pass: its processor's seconds, and the largest this process has been."""
    cost = {
        "seconds": time.process_time() - _BEGAN[0],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    write_json(plan.work / "cost" / name / f"{task:05d}.json", cost)


def classifier_path(plan: Plan) -> Path:
    return plan.work / "classifier.npy"


def toxicity_path(plan: Plan) -> Path:
    return plan.work / "toxicity" / "classifier.npy"


def sample_path(plan: Plan, piece: int) -> Path:
    return plan.work / "sample" / f"{piece:05d}.npz"


def read_facts(plan: Plan, name: str) -> dict[str, Any]:
    """What is known of `classifier` or `toxicity`; nothing where the recipe has none."""
    path = plan.work / f"{name}.json"
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    return found
