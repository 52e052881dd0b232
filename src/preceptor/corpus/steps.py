"""The steps on documents: each says of every document that comes why it stays or goes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from preceptor.corpus import classifier, contamination, quality
from preceptor.corpus.blocklist import Blocklist
from preceptor.corpus.plan import Plan, classifier_path, toxicity_path
from preceptor.corpus.tally import Tally
from preceptor.corpus.texts import Text
from preceptor.corpus.words import draw, fraction_of
from preceptor.data.personal import mask_personal

Transform = Callable[[Iterator[Text]], Iterator[Text]]
CUT = " […] "
"""Stands between the pieces of a document in its example."""


def steps_of(
    name: str, plan: Plan, piece: int, is_raw: bool, tally: Tally
) -> Iterator[tuple[str, Transform]]:
    """The steps of one pass that the recipe asks for, in order, with their names."""
    recipe = plan.recipe
    if name == "read":
        source = plan.pieces[piece].source
        if (languages := recipe.language_of(source)) is not None:
            problem_of = partial(quality.language_problem, keep=languages.keep)
            yield "language", partial(passing, "language", problem_of, tally)
        if (rules := recipe.quality_of(source)) is not None:
            problem_of = partial(quality.quality_problem, rules=rules)
            yield "quality", partial(passing, "quality", problem_of, tally)
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


def passing(
    step: str,
    problem_of: Callable[[str], quality.Problem | None],
    tally: Tally,
    texts: Iterator[Text],
) -> Iterator[Text]:
    """Steps `language` and `quality`: a document that breaks a rule goes, under the rule's name."""
    for text in texts:
        if problem := problem_of(text.text):
            tally.dropped(step, text, *problem)
        else:
            tally.kept(step, text)
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
    benchmarks = benchmarks_of(plan)
    index = benchmarks.runs
    touched = set(np.load(plan.work / "hits" / f"{piece:05d}.npy", allow_pickle=False).tolist())
    for at, text in enumerate(texts):
        cut = contamination.cut_out(text.text, index, config) if at in touched else None
        if cut is not None:
            hits = contamination.hits_in(text.text, index, config.run)
            tally.extra.update(f"benchmark {number}" for number in benchmarks.files_with(hits))
        if cut is None:
            tally.kept("decontaminate", text)
            yield text
        elif cut.num_pieces > config.max_pieces:
            reason, told = "cut into more than max_pieces", f"{cut.num_pieces} pieces; {cut.cut}"
            tally.dropped("decontaminate", text, reason, told, near=cut.cut)
        elif not cut.pieces:
            reason = "nothing long enough is left"
            tally.dropped("decontaminate", text, reason, cut.cut, near=cut.cut)
        else:
            left = text.with_text(CUT.join(cut.pieces))
            tally.kept("decontaminate", left, f"cut: {cut.cut}", near=CUT)
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
            told = f"{share:.2%}, first: {first}"
            tally.dropped("blocklist", text, "blocked words", told, near=first)
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
        first = next((f"<{kind}_1>" for kind in counts), "")
        tally.kept("personal", result, found, near=first)
        yield result


def benchmarks_of(plan: Plan) -> contamination.Benchmarks:
    """The runs that are cut out: those of the benchmarks that few enough documents have."""
    common = np.load(plan.work / "common.npy", allow_pickle=False)
    return contamination.Benchmarks.load(plan.work).without(common)
