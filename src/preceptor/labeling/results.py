"""What labelers say of each model, from the labels that an export would hold.

Not on the lead's pages: whoever labels there is to learn nothing of models. Labels of one prompt,
and labels of one labeler, are not independent: both are drawn again for the intervals.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from statistics import fmean
from typing import Any

from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.labeling.identity import names_a_model
from preceptor.statistics.bootstrap import FEW_CLUSTERS, cluster_bootstrap
from preceptor.statistics.bradley_terry import (
    comparisons_of_ranking,
    davidson_strengths,
    fit_davidson,
)
from preceptor.statistics.clusters import detectable_difference, two_way_mean
from preceptor.statistics.estimate import Estimate
from preceptor.statistics.winrate import length_controlled_win_rate, shares_against
from preceptor.store.export import TASK_TYPES, Filter, label_records
from preceptor.store.projects import project_named
from preceptor.store.questions import Questions, questions_of
from preceptor.store.tables import Project

WORDS = {
    "input_toxicity": "toxicity of the prompt, 0 to 2",
    "toxicity": "toxicity, 0 to 2",
    "relative_toxicity": "beside the prompt, -1 to 1",
    "continuity": "continuity, 1 to 7",
    "likert": "quality, 1 to 7",
    "flag": "flag {}",
    "unacceptable": "unacceptable",
    "preferred": "preferred to others' responses",
    "named": "names a model or its maker",
    "preferred_unnamed": "preferred, where none does",
    "win_rate": "wins against the baseline",
    "win": "  won",
    "tie": "  tied",
    "both_bad": "  tied, both unacceptable",
    "loss": "  lost",
    "equal_length": "  at equal length",
    "detectable": "  difference that would be seen",
    "strength": "strength, of all comparisons",
}
"""By measure, in the order in which they are shown; {} is the flag's name."""
BASELINE = "sft"
"""What the paper compares with, where a project has one model of that name."""
NOBODY = "no model"
"""Whose responses come from none that is known."""


@dataclass(frozen=True)
class Figure:
    """One measure of one model, over all labels of its responses; `flag` is one's name."""

    model: str
    measure: str
    estimate: Estimate
    flag: str = ""

    @property
    def words(self) -> str:
        return WORDS[self.measure].format(self.flag)

    def as_dict(self) -> dict[str, Any]:
        known: dict[str, Any] = {"model": self.model, "measure": self.measure}
        known |= {"flag": self.flag} if self.flag else {}
        how = {"clusters": self.estimate.clusters, "method": self.estimate.method}
        return known | self.estimate.as_dict() | how


@dataclass(frozen=True)
class Results:
    """Of a project: figures by model and measure, and why labels were left out.

    `islands` holds the models by who was compared with whom, were it by way of others: strengths
    of two islands have no zero in common.
    """

    figures: tuple[Figure, ...]
    baseline: str | None
    islands: tuple[tuple[str, ...], ...]
    num_labels: int
    num_prompts: int
    num_labelers: int
    groups: dict[str, int]  # of labelers, with the labels of each
    left_out: dict[str, int]

    def too_few(self) -> list[str]:
        """What there should be more of for an interval to be trusted."""
        counts = {"prompts": self.num_prompts, "labelers": self.num_labelers}
        return [f"{count} {ones}" for ones, count in counts.items() if count < FEW_CLUSTERS]

    def as_dict(self) -> dict[str, Any]:
        """As `preceptor label results --json` prints it."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return known | {"figures": [figure.as_dict() for figure in self.figures]}


@dataclass(frozen=True)
class Said:
    """A number that a labeler gave to a response, or that its place makes."""

    value: float
    prompt: str
    labeler: str


SPLITS = ("train", "valid", "test")


def read_results(
    session: Session,
    project: str,
    split: str,
    *,
    now: datetime,
    baseline: str | None = None,
    prompt_label: str | None = None,
    group: str | None = None,
) -> Results:
    """The figures of each model of a project, over the prompts of one split, or "all".

    `preferred` is the share of the other models' responses to the same prompt that one was ranked
    above, a tie being half. Where responses name a model or its maker, which may have told labelers
    whose they are, it is there once more without these (`named` is the share of them).

    With a `baseline`, "sft" where there is one and none is named, a label is one outcome of each
    other model: won, tied or lost against it. `prompt_label` leaves only labels that say so of
    their prompt: "closed_domain", for the paper's share of hallucinations. `group` leaves only
    labels of that group of labelers.

    Raises:
        StoreError: there is no such project, model or prompt label, nothing is compared in it, no
            label counts yet, or what counts says nothing of any model.
    """
    found = project_named(session, project)
    asked, kind = questions_of(found), _kind_of(found)
    _require_asked(found, asked, prompt_label)
    records: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    for each in SPLITS if split == "all" else (split,):
        for record in label_records(session, Filter(kind, each, project), left_out, now):
            meta = record["meta"]
            if prompt_label is not None and meta["prompt_labels"].get(prompt_label) is not True:
                left_out[f"prompt not said to be {prompt_label}"] += 1
            elif group is not None and meta["labeler_group"] != group:
                left_out[f"of {meta['labeler_group']} labelers"] += 1
            else:
                records.append(record)
    if not records:
        raise StoreError(_nothing(session, kind, project, split, left_out, now))
    judged = judgements_of(records)
    models = sorted({model for one in judged for model in one.models})
    if baseline is not None and baseline not in models:
        raise StoreError(
            f"{project} compares no model {baseline!r}; it compares {', '.join(models)}."
        )
    if baseline is None and BASELINE in models:
        baseline = BASELINE
    strengths, islands = strengths_of(judged)
    figures = [*figures_of(judged, asked.flag_names), *strengths]
    if baseline is not None:
        figures += figures_against(baseline, judged)
    if not figures:
        raise StoreError(
            f"{project}: its {len(records)} labels rate no response, and no two responses are of "
            "different models: nothing is said of any. Imported rankings have a model's name in "
            "`sources`."
        )
    order = {name: i for i, name in enumerate(WORDS)}
    flags = {name: i for i, name in enumerate(("", *asked.flag_names))}
    figures.sort(key=lambda one: (one.model, order[one.measure], flags[one.flag]))
    return Results(
        figures=tuple(figures),
        baseline=baseline,
        islands=islands,
        num_labels=len(records),
        num_prompts=len({one.prompt for one in judged}),
        num_labelers=len({one.labeler for one in judged}),
        groups=dict(sorted(Counter(r["meta"]["labeler_group"] for r in records).items())),
        left_out=dict(left_out),
    )


def _kind_of(project: Project) -> str:
    kinds = [kind for kind, types in TASK_TYPES.items() if project.task_type in types]
    if kinds in ([], ["demonstrations"]):
        raise StoreError(
            f"{project.name}: a {project.task_type} project, in which no models are compared."
        )
    return kinds[0]


def _require_asked(project: Project, asked: Questions, prompt_label: str | None) -> None:
    is_asked = project.task_type in ("ranking", "evaluation")
    names = [label.name for label in asked.prompt_labels] if is_asked else []
    if prompt_label is not None and prompt_label not in names:
        raise StoreError(
            f"{project.name} asks no {prompt_label} of prompts; "
            f"it asks {', '.join(names) or 'nothing'}."
        )


def _nothing(
    session: Session, kind: str, project: str, split: str, left_out: Counter[str], now: datetime
) -> str:
    """Why there are no figures, and where there would be."""
    told = f"{project}: no label counts in " + ("any split" if split == "all" else f"split {split}")
    if left_out:
        reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        return f"{told} yet. Left out: {reasons}."
    others = {
        other: sum(1 for _ in label_records(session, Filter(kind, other, project), Counter(), now))
        for other in SPLITS
        if other != split
    }
    have = [f"{count} in {other}" for other, count in others.items() if count]
    return f"{told} yet. " + (
        f"There are {', '.join(have)}: --split says which, or all." if have else "There are none."
    )


@dataclass(frozen=True)
class Judged:
    """One label: the responses in the order of their slots, whose they are and what was said."""

    prompt: str
    labeler: str
    models: list[str]
    texts: list[str]
    ranks: list[int]
    ratings: list[dict[str, Any]]
    unacceptable: list[bool]
    positions: list[int] | None
    input_toxicity: int | None

    def said(self, value: float) -> Said:
        return Said(value, self.prompt, self.labeler)


def judgements_of(records: Sequence[dict[str, Any]]) -> list[Judged]:
    """From the lines of an export."""
    names = names_of([slot["policy"] for r in records for slot in r["meta"]["slots"].values()])
    return [
        Judged(
            prompt=meta["prompt_id"],
            labeler=record["labeler"],
            models=[names[key_of(slot["policy"])] for slot in meta["slots"].values()],
            texts=record["responses"],
            ranks=record["ranks"],
            ratings=[meta["ratings"].get(slot, {}) for slot in meta["slots"]],
            unacceptable=[slot in meta["unacceptable"] for slot in meta["slots"]],
            positions=positions_of(list(meta["slots"]), meta["display_order"]),
            input_toxicity=meta.get("input_toxicity"),
        )
        for record in records
        for meta in [record["meta"]]
    ]


def positions_of(slots: list[str], display_order: list[str]) -> list[int] | None:
    """Where each stood on the page; None where that is not known of all."""
    if not set(slots) <= set(display_order):
        return None  # imported, or equal texts that were shown once
    return [display_order.index(slot) for slot in slots]


RATED = ("toxicity", "relative_toxicity", "continuity", "likert")


def figures_of(judged: Sequence[Judged], flags: Sequence[str]) -> list[Figure]:
    """What was said of each model's responses, and how often they were preferred to others'."""
    said: dict[tuple[str, str, str], list[Said]] = defaultdict(list)
    naming = [[names_a_model(text) for text in one.texts] for one in judged]
    told = any(map(any, naming))
    is_used = any(any(one.unacceptable) for one in judged)
    for one, named in zip(judged, naming, strict=True):
        for i, (model, rating) in enumerate(zip(one.models, one.ratings, strict=True)):
            found = {(name, ""): rating[name] for name in RATED if name in rating}
            answers = rating.get("flags", {})
            found |= {
                ("flag", flag): answers[flag] for flag in flags if answers.get(flag) is not None
            }
            if one.input_toxicity is not None:
                found["input_toxicity", ""] = one.input_toxicity
            if is_used:
                found["unacceptable", ""] = one.unacceptable[i]
            others = [j for j, other in enumerate(one.models) if other != model]
            unnamed = [j for j in others if not (named[i] or named[j])]
            if others:
                found["preferred", ""] = share_won(one.ranks, i, others)
            if told:
                found["named", ""] = named[i]
            if told and unnamed:
                found["preferred_unnamed", ""] = share_won(one.ranks, i, unnamed)
            for (name, flag), value in found.items():
                said[model, name, flag].append(one.said(float(value)))
    return [Figure(m, name, estimate_of(all_), flag) for (m, name, flag), all_ in said.items()]


def figures_against(baseline: str, judged: Sequence[Judged]) -> list[Figure]:
    """Each other model beside the baseline: one outcome a label, their mean where it has several.

    At equal length: by the difference of the responses' characters.
    """
    said: dict[tuple[str, str], list[Said]] = defaultdict(list)
    longer: dict[str, list[float]] = defaultdict(list)
    for one in judged:
        lengths: dict[str, list[int]] = defaultdict(list)
        for model, text in zip(one.models, one.texts, strict=True):
            lengths[model].append(len(text))
        shares = shares_against(baseline, one.models, one.ranks, one.unacceptable)
        for model, share in shares.items():
            outcome = share["win"] + (share["tie"] + share["both_bad"]) / 2
            for name, value in (share | {"win_rate": outcome}).items():
                said[model, name].append(one.said(value))
            longer[model].append(fmean(lengths[model]) - fmean(lengths[baseline]))
    figures = [
        Figure(model, name, estimate_of(all_))
        for (model, name), all_ in said.items()
        if name != "both_bad" or any(one.value for one in all_)
    ]
    for model, differences in longer.items():
        outcomes = [one.value for one in said[model, "win_rate"]]
        prompts = [one.prompt for one in said[model, "win_rate"]]
        labelers = [one.labeler for one in said[model, "win_rate"]]
        equal = length_controlled_win_rate(outcomes, differences, prompts, labelers=labelers)
        seen = detectable_difference(outcomes, prompts, labelers)
        figures += [Figure(model, "equal_length", equal), Figure(model, "detectable", seen)]
    return figures


def strengths_of(judged: Sequence[Judged]) -> tuple[list[Figure], tuple[tuple[str, ...], ...]]:
    """Davidson's strength of each model at equal places of the page, and the islands.

    A label has the weight of one.
    """
    comparisons: list[tuple[Hashable, Hashable, float]] = []
    weights: list[float] = []
    prompts: list[str] = []
    labelers: list[str] = []
    shown: list[float] = []
    for one in judged:
        found, own, first = comparisons_of_ranking(one.models, one.ranks, one.positions)
        comparisons += found
        weights += own
        shown += first
        prompts += [one.prompt] * len(found)
        labelers += [one.labeler] * len(found)
    strengths = davidson_strengths(
        comparisons, weights, prompts, labelers=labelers, shown_first=shown
    )
    islands: dict[int, list[str]] = defaultdict(list)
    for model, island in fit_davidson(comparisons, weights).component.items():
        islands[island].append(str(model))
    figures = [Figure(str(model), "strength", estimate) for model, estimate in strengths.items()]
    return figures, tuple(tuple(sorted(models)) for models in islands.values())


def share_won(ranks: Sequence[int], one: int, others: Sequence[int]) -> float:
    """Of these others, the share that it is ranked above; a tie is half."""
    won = sum((ranks[one] < ranks[j]) + 0.5 * (ranks[one] == ranks[j]) for j in others)
    return won / len(others)


def estimate_of(said: Sequence[Said]) -> Estimate:
    """The mean, for other prompts and other labelers than these; of one labeler, for prompts."""
    values = [one.value for one in said]
    prompts, labelers = [one.prompt for one in said], [one.labeler for one in said]
    if min(values) == max(values) and not 0 <= values[0] <= 1:
        reason = "every label says the same, so there is no spread to judge by"
        return Estimate(values[0], None, None, len(values), len(set(prompts)), reason=reason)
    if len(set(labelers)) > 1 and len(set(prompts)) > 1:
        return two_way_mean(values, prompts, labelers)
    return cluster_bootstrap(values, prompts)


def names_of(policies: Sequence[dict[str, str] | None]) -> dict[tuple[str, str], str]:
    """What each model is called: where two have one name, by the run too, or by their weights."""
    runs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for policy in policies:
        runs[key_of(policy)].add(policy["run"] if policy else "")
    names = {}
    for key in runs:
        name, which = key
        alike = [other for other in runs if other[0] == name]
        if len(alike) == 1:
            names[key] = name
        elif len(set.union(*(runs[other] for other in alike))) == sum(
            len(runs[other]) for other in alike
        ):
            names[key] = f"{name} of {min(runs[key])}"
        else:  # one folder, trained anew
            names[key] = f"{name} {which[:8]}"
    return names


def key_of(policy: dict[str, str] | None) -> tuple[str, str]:
    """A model is its weights, wherever they lie; where these are not known, its run."""
    return (policy["name"], policy["weights_sha256"] or policy["run"]) if policy else (NOBODY, "")
