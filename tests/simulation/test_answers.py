"""Simulated labelers decide by the texts alone; each bad habit shows in the form."""

import random
from dataclasses import replace
from typing import Any

import pytest

from preceptor.data.dataset import Judgement
from preceptor.data.records import Prompt
from preceptor.evaluation.labelers import Labeler, rank_responses, stream_of_look
from preceptor.simulation.answers import (
    BAD_HABITS,
    Knowledge,
    Shown,
    Worker,
    answer,
)
from preceptor.store.forms import check_form, ranks_of
from preceptor.store.questions import PAPER

LABELER = Labeler("lena", temperature=0.1, error_rate=0.1, tie_margin=0.02)
TEXTS = ["0.9 good", "0.2 bad", "0.5 so so", "0.55 so so", "0.05 terrible"]


def number_judge(prompt: Prompt, response: str) -> Judgement:
    """The response says its own score first; a bad one fails the task."""
    score = float(response.split()[0])
    return Judgement(score, {"task": score, "truth": 1.0, "constraint": None})


def known(seed: int = 0, **book: str) -> Knowledge:
    return Knowledge(number_judge, seed, {}, book)


def shown(texts: list[str] = TEXTS, prompt: str = "how?") -> Shown:
    return Shown("ranking", prompt, texts)


def by_text(form: dict[str, Any], texts: list[str]) -> dict[str, tuple[int, Any]]:
    ranks = ranks_of(form["rank_groups"])
    return {text: (ranks[str(i + 1)], form["ratings"][str(i + 1)]) for i, text in enumerate(texts)}


@pytest.mark.parametrize("habit", ["honest", *BAD_HABITS])
def test_every_form_is_one_that_the_store_takes(habit):
    worker = Worker(LABELER, habit)
    for number in range(50):
        done = answer(worker, shown(prompt=f"p{number}"), known())
        choices, _ = check_form("ranking", done.form, ["1", "2", "3", "4", "5"], PAPER)
        assert set(choices["ratings"]) == {"1", "2", "3", "4", "5"}


def test_what_is_decided_does_not_depend_on_the_order_of_display():
    worker = Worker(LABELER)
    for seed in range(40):
        texts = list(TEXTS)
        first = by_text(answer(worker, shown(texts), known(seed)).form, texts)
        random.Random(seed).shuffle(texts)
        assert by_text(answer(worker, shown(texts), known(seed)).form, texts) == first


def test_ranks_are_those_of_the_labeler_in_process():
    worker = Worker(LABELER)
    for number in range(40):
        prompt = f"p{number}"
        form = answer(worker, shown(TEXTS[::-1], prompt), known(7)).form
        draws = stream_of_look(7, "lena", Prompt(prompt), TEXTS)
        ranks = rank_responses(LABELER, Prompt(prompt), TEXTS, number_judge, draws)
        assert {text: rank for text, (rank, _) in by_text(form, TEXTS[::-1]).items()} == dict(
            zip(TEXTS, ranks, strict=True)
        )


def test_labelers_and_seeds_differ():
    forms = {
        str(answer(Worker(replace(LABELER, name=name)), shown(), known(seed)).form)
        for name in ("lena", "max", "kim")
        for seed in range(4)
    }
    assert len(forms) > 6


def test_better_texts_get_better_quality_and_bad_ones_are_flagged():
    worker = Worker(replace(LABELER, temperature=0.0, error_rate=0.0))
    seen = by_text(answer(worker, shown(), known()).form, TEXTS)
    assert [seen[text][1]["likert"] for text in TEXTS] == [6, 2, 4, 4, 1]
    assert [bool(seen[text][1]["flags"].get("fails_task")) for text in TEXTS] == [
        False,
        True,
        True,
        False,
        True,
    ]


def test_the_last_group_is_unacceptable_only_if_all_of_it_is():
    worker = Worker(replace(LABELER, temperature=0.0, error_rate=0.0))
    assert answer(worker, shown(), known()).form["unacceptable"] == ["5"]
    assert answer(worker, shown(TEXTS[:3]), known()).form["unacceptable"] == []


def test_bad_habits_are_what_they_are_called():
    def forms(habit):
        return [
            answer(Worker(LABELER, habit), shown(prompt=f"p{n}"), known()).form for n in range(60)
        ]

    assert all(
        f["rank_groups"] == [["1"], ["2"], ["3"], ["4"], ["5"]] for f in forms("straight_liner")
    )
    assert all(f["rank_groups"] == [["1", "2", "3", "4", "5"]] for f in forms("all_tie"))
    flagged = [r["flags"] for f in forms("flag_everything") for r in f["ratings"].values()]
    assert all(flags == dict.fromkeys(PAPER.flag_names, True) for flags in flagged)
    # Whoever answers at random puts the best first about as often as anything else.
    firsts = [ranks_of(f["rank_groups"])["1"] == 1 for f in forms("random")]
    honest = [ranks_of(f["rank_groups"])["1"] == 1 for f in forms("honest")]
    assert sum(honest) > 45 and sum(firsts) < 40


def test_a_speeder_takes_a_small_part_of_the_time():
    def seconds(habit):
        worker = Worker(LABELER, habit)
        times = [answer(worker, shown(prompt=f"p{n}"), known()).active_seconds for n in range(50)]
        return sorted(times)[25]

    assert seconds("speeder") < 0.1 * seconds("honest")
    assert seconds("honest") > 10


def test_rates_of_skips_drafts_and_second_thoughts_are_met():
    worker = Worker(LABELER, skip_rate=0.1, draft_rate=0.5, undo_rate=0.2)
    done = [answer(worker, shown(prompt=f"p{n}"), known()) for n in range(2000)]
    skipped = [d for d in done if d.skip_reason]
    kept = [d for d in done if not d.skip_reason]
    assert 0.08 < len(skipped) / 2000 < 0.12
    assert 0.46 < sum(d.saves_draft for d in kept) / len(kept) < 0.54
    assert 0.17 < sum(d.undoes for d in kept) / len(kept) < 0.23


def test_demonstrations_are_written_by_the_book_and_skipped_without_one():
    task = Shown("demonstration", "how", [])
    done = answer(Worker(LABELER), task, known(how="so."))
    assert done.form["response"] == "so." and done.skip_reason is None
    assert answer(Worker(LABELER), task, known()).skip_reason == "needs_expertise"


def test_a_habit_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="habit lazy: there are honest, straight_liner"):
        Worker(LABELER, "lazy")  # type: ignore[arg-type]
