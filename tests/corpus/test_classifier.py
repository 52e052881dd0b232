"""The quality classifier: the Pareto rule against its closed form and numpy's own draws."""

import math
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from corpora import document

from preceptor.corpus.classifier import (
    Classifier,
    Sample,
    auc_interval,
    features,
    fit,
    is_kept,
    keep_probability,
    load_samples,
    pareto,
)
from preceptor.corpus.words import draws, fraction_of, origin_of

ALPHA = 9.0


@pytest.mark.parametrize("score", [0.0, 0.3, 0.5, 0.9, 0.99])
def test_the_share_kept_is_the_closed_form_and_numpy_s(score):
    """40,000 documents of one score, by our draws; as many of numpy's pareto, as the paper has."""
    count = 40_000
    uniforms = [fraction_of(int(d)) for d in draws(range(count), stream=11)]
    ours = np.mean([is_kept(score, uniform, ALPHA) for uniform in uniforms])
    theirs = np.mean(np.random.default_rng(5).pareto(ALPHA, count) > 1 - score)
    expected = keep_probability(score, ALPHA)
    spread = math.sqrt(expected * (1 - expected) / count)
    assert abs(ours - expected) < 5 * spread
    assert abs(theirs - expected) < 5 * spread


@pytest.mark.parametrize(("num_good", "num_raw"), [(2, 40), (10, 10), (60, 25)])
def test_the_interval_of_few_held_out_documents_has_the_truth(num_good, num_raw):
    """Normal scores one standard deviation apart: a good one is over a raw one in 76 of 100."""
    truth = 0.5 * math.erfc(-1 / 2)
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        good, raw = rng.normal(1, 1, num_good), rng.normal(0, 1, num_raw)
        low, high = auc_interval(float((good[:, None] > raw).mean()), num_good, num_raw)
        hits += low <= truth <= high
    assert hits >= 0.94 * 400
    assert auc_interval(1.0, 2, 40)[0] < 0.5  # two that are parted well tell next to nothing


def test_the_closed_form_at_its_ends():
    assert keep_probability(1.0, ALPHA) == 1.0
    assert keep_probability(0.0, ALPHA) == pytest.approx(0.001953125)  # 2^-9
    assert pareto(1.0, ALPHA) == 0.0
    assert not is_kept(0.0, 1.0, ALPHA)


def test_the_rule_keeps_more_of_what_scores_more():
    shares = [keep_probability(score / 10, ALPHA) for score in range(11)]
    assert shares == sorted(shares)


def test_features_are_counts_of_words_at_length_one():
    cells, values = features("The river the RIVER, the end", 2**18)
    assert len(cells) == 4  # the, river, "river,", end
    assert (values**2).sum() == pytest.approx(1)
    assert values.max() / values.min() == pytest.approx(3)


def matrix(texts: list[str], num_features: int = 2**12) -> scipy.sparse.csr_matrix:
    rows = [features(text, num_features) for text in texts]
    ends = np.cumsum([0, *(len(cells) for cells, _ in rows)])
    return scipy.sparse.csr_matrix(
        (np.concatenate([v for _, v in rows]), np.concatenate([c for c, _ in rows]), ends),
        shape=(len(rows), num_features),
    )


SPAM = ["click", "cheap", "offer", "discount", "casino", "winner", "bonus", "pills", "deal", "now"]


def spam(seed: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(SPAM, 80))


def test_it_parts_what_can_be_parted_and_only_that():
    good, raw = [document(n) for n in range(200)], [spam(n) for n in range(100)]
    model, facts = fit(matrix(good), matrix(raw), 1e-5)
    assert facts["held_out_auc"] == 1.0
    assert model.score(document(999)) > 0.9 > 0.1 > model.score(spam(999))
    same = fit(matrix(good[:100]), matrix(good[100:]), 1e-1)[1]
    assert 0.2 < same["held_out_auc"] < 0.8


def test_the_weights_are_where_the_loss_has_no_slope():
    """Against the gradient taken by differences, in float64: an optimum of the stated loss."""
    good, raw = (
        matrix([document(n) for n in range(30)], 64),
        matrix([spam(n) for n in range(30)], 64),
    )
    model, _ = fit(good, raw, 1e-2)
    kept = [np.arange(30) % 10 != 0] * 2
    rows = np.concatenate([good[kept[0]].toarray(), raw[kept[1]].toarray()]).astype(np.float64)
    signs = np.repeat([1, -1], 27)

    def loss(point):
        margins = signs * (rows @ point[:-1] + point[-1])
        return np.mean(np.log1p(np.exp(-margins))) + 0.5 * 1e-2 * (point[:-1] ** 2).sum()

    point = np.append(model.weights, model.bias).astype(np.float64)
    for at in range(len(point)):
        step = np.zeros_like(point)
        step[at] = 1e-5
        assert abs(loss(point + step) - loss(point - step)) / 2e-5 < 2e-4


def test_a_sample_is_of_the_smallest_draws_whatever_the_order(tmp_path):
    texts = [document(n, 2) for n in range(60)]
    order = {text: int(draws([origin_of(text)], 1)[0]) for text in texts}
    for name, ordered in (("a", texts), ("b", texts[::-1])):
        halves = [Sample(20, 2**12), Sample(20, 2**12)]
        for at, text in enumerate(ordered):
            halves[at % 2].offer(order[text], text)
        for number, half in enumerate(halves):
            half.save(tmp_path / f"{name}{number}.npz")
    found = [
        load_samples([tmp_path / f"{n}0.npz", tmp_path / f"{n}1.npz"], 20, 2**12) for n in "ab"
    ]
    wanted = matrix(sorted(texts, key=order.__getitem__)[:20])
    for one in found:
        assert (one != wanted).nnz == 0


def noise(seed: int) -> list[str]:
    """Texts of words drawn alike: no classifier can tell two seeds' apart."""
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{word}" for word in rng.integers(0, 3000, 60)) for _ in range(300)]


@pytest.mark.parametrize("num_pieces", [1, 3])
def test_copies_do_not_make_the_held_out_figure_better(tmp_path, num_pieces):
    """Each text comes three times, in one piece or in three, and is learned or held out."""
    matrices = []
    for kind in range(2):
        samples = [Sample(1000, 2**12) for _ in range(num_pieces)]
        for copy in range(3):
            for text in noise(kind):
                samples[copy % num_pieces].offer(int(draws([origin_of(text)], 1)[0]), text)
        paths = [tmp_path / f"{kind}-{number}.npz" for number in range(num_pieces)]
        for sample, path in zip(samples, paths, strict=True):
            sample.save(path)
        matrices.append(load_samples(paths, 1000, 2**12))
        assert matrices[kind].shape[0] == 300
    facts = fit(*matrices, 1e-5)[1]
    assert facts["held_out_auc_low"] < 0.5 < facts["held_out_auc_high"]
    assert 0.35 < facts["held_out_auc"] < 0.65


def test_copies_take_no_place_of_other_texts(tmp_path):
    """A piece that is full of one text has room for others of larger draws, and in any order."""
    for name, order in (("a", [5, 5, 5, 1, 9, 5, 7, 1]), ("b", [9, 7, 5, 5, 1, 1, 5, 5])):
        sample = Sample(3, 64)
        for draw in order:
            sample.offer(draw, f"word{draw}")
        sample.save(tmp_path / f"{name}.npz")
        assert np.load(tmp_path / f"{name}.npz")["draws"].tolist() == [1, 5, 7]


def test_a_sample_of_many_pieces_is_not_held(tmp_path):
    """Of 60 pieces with 2,000 documents each 500 documents are taken: their own size is held."""
    rng, most = np.random.default_rng(4), 500
    every, cells = [], 20
    for number in range(60):
        draws = np.sort(rng.integers(0, 2**64, 2000, dtype=np.uint64))
        every += [(draw, number, at) for at, draw in enumerate(draws.tolist())]
        np.savez(
            tmp_path / f"{number}.npz",
            draws=draws,
            ends=np.arange(0, 2000 * cells + 1, cells),
            cells=np.tile(np.arange(cells, dtype=np.int32), 2000),
            values=np.repeat(np.arange(2000, dtype=np.float32) + 10_000 * number, cells),
        )
    paths = [tmp_path / f"{number}.npz" for number in range(60)]
    tracemalloc.start()
    found = load_samples(paths, most, cells)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    wanted = [at + 10_000 * number for _, number, at in sorted(every)[:most]]
    assert found[:, 0].toarray().ravel().tolist() == wanted
    assert peak < 2_000_000  # a piece is 350 kB, and all draws as Python's numbers are 14 MB


def test_a_classifier_comes_back_as_it_was(tmp_path):
    model = Classifier(np.arange(16, dtype=np.float32) / 7, -0.25)
    model.save(tmp_path / "c.npy")
    again = Classifier.load(tmp_path / "c.npy")
    assert again.score("river of words") == model.score("river of words")
