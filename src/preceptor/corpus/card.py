"""The data card: what every step kept and dropped, and the corpus that came out, in JSON and HTML.

corpus.json is what training reads; it comes last, and without it nobody trusts the folder. The page
shows other people's text, so everything in it is escaped. What the clock said stands elsewhere:
the card of the same corpus has the same bytes.
"""

import hashlib
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2

import preceptor
from preceptor.corpus.classifier import keep_probability
from preceptor.corpus.plan import TEXT_PASSES, Plan, read_facts
from preceptor.corpus.recipe import OF_SOURCES
from preceptor.corpus.steps import benchmarks_of
from preceptor.corpus.tally import merged
from preceptor.corpus.texts import read_json, whole_file, write_json
from preceptor.corpus.toxicity import MANY
from preceptor.data.attribution import attribution_of_texts
from preceptor.data.catalogue import CATALOGUE, notice_of, text_set
from preceptor.data.shards import CARD, FORMAT, PARTS

HERE = Path(__file__).parent
STEPS = {
    "read": "Read",
    "language": "Language",
    "quality": "Rules on quality",
    "classifier": "Quality classifier",
    "duplicates": "Near-duplicates",
    "decontaminate": "Benchmarks",
    "blocklist": "Blocklist",
    "toxicity": "Toxicity",
    "personal": "Personal data",
}
"""Every step in the order of the work, as people call it."""
Json = dict[str, Any]


def write_card(plan: Plan, _: Any, __: int, ___: int) -> None:
    """The card out of the passes' tallies; the page first, then what training looks for."""
    card = make_card(plan)
    with whole_file(plan.out / "corpus.html") as file:
        file.write(render(card).encode())
    used: Counter[str] = Counter()
    for source, row in zip(plan.recipe.sources, card["sources"], strict=True):
        if source.package is not None:
            used[text_set(source.package)] += row["documents"]
    for name in used:
        if notice := notice_of(name):
            with whole_file(plan.out / f"LICENSE-{name}") as file:
                file.write(notice.encode())
    if used:  # their licences ask for it
        sets = [(n, CATALOGUE[n].package, CATALOGUE[n].terms, count) for n, count in used.items()]
        with whole_file(plan.out / "ATTRIBUTION.md") as file:
            file.write(attribution_of_texts(sets).encode())
    write_json(plan.out / CARD, card)


def make_card(plan: Plan) -> Json:
    """Everything that is known of the corpus, as plain values."""
    mixture = read_json(plan.work / "mixture.json")
    shards = [
        shard for path in sorted((plan.work / "shards").glob("*.json")) for shard in read_json(path)
    ]
    by_part = {
        part: sorted((s for s in shards if s["part"] == part), key=lambda s: int(s["number"]))
        for part in PARTS
    }
    names = [source.name for source in plan.recipe.sources]
    tallies = {name: _tally_of(plan, name) for name in names}
    classifier = read_facts(plan, "classifier")
    notes = list(mixture["notes"])
    if "left_out" in classifier:
        notes.append(f"The classifier was left out: {classifier['left_out']}.")
    toxicity = read_facts(plan, "toxicity")
    if "left_out" in toxicity:
        notes.append(f"The toxicity step was left out: {toxicity['left_out']}.")
    steps = list(_steps(tallies))
    notes += [note for step in steps if (note := _too_much(step))]
    for reason, count in toxicity.get("broken", {}).items():
        notes.append(f"Of the toxicity step's examples {count:,} could not be read: {reason}")
    duplicates = plan.work / "duplicates.json"
    digest = hashlib.sha256()
    for shard in (*by_part["train"], *by_part["valid"]):
        digest.update(f"{shard['sha256']} {shard['index_sha256']}\n".encode())
    return {
        "format": FORMAT,
        "name": plan.recipe.name,
        "version": preceptor.__version__,
        "recipe": plan.recipe.model_dump(mode="json"),
        "sha256": digest.hexdigest(),
        "tokenizer": mixture["tokenizer"] | {"name": plan.recipe.tokenizer},
        "tokens": {part: sum(s["tokens"] for s in by_part[part]) for part in PARTS},
        "documents": {part: sum(s["documents"] for s in by_part[part]) for part in PARTS},
        "shards": by_part,
        "sources": [
            _source(number, name, tallies[name], mixture, by_part["train"])
            for number, name in enumerate(names)
        ],
        "left": sum(one["documents"] for one in mixture["unique"].values())
        + sum(s["documents"] for s in by_part["valid"]),
        "passed_over": [asdict(one) for one in plan.passed_over],
        "steps": steps,
        "classifier": _of_classifier(classifier, tallies, plan),
        "toxicity": toxicity | {"by_score": _extra(tallies, "toxic score ")} if toxicity else {},
        "duplicate_pairs": read_json(duplicates) if duplicates.is_file() else {},
        "benchmarks": _benchmarks(plan, tallies),
        "masked": _extra(tallies, "masked "),
        "cut": {key: sum(t["extra"].get(key, 0) for t in tallies.values())
                for key in ("documents cut", "pieces of cut documents")},
        "kept_examples": [
            row
            for name in names
            for row in _three([
                {"source": name, **row}
                for row in tallies[name]["kept_examples"].get(_last_step(tallies[name]), [])
            ])
        ],
        "notes": notes,
    }  # fmt: skip


def _tally_of(plan: Plan, name: str) -> Json:
    mine = plan.numbers(lambda piece: piece.source.name == name)
    paths = [plan.tally(one, number) for one in TEXT_PASSES for number in mine]
    found = merged([path for path in paths if path.is_file()])
    for key in ("steps", "kept_examples", "told_examples"):
        found[key] = {step: found[key][step] for step in STEPS if step in found[key]}
    return found


def _last_step(tally: Json) -> str:
    """The last step that a source's documents came to: the classifier asks only raw sources."""
    return next(reversed(tally["steps"]), "")


def _source(number: int, name: str, tally: Json, mixture: Json, train: list[Json]) -> Json:
    """One row of the mixture: what was read, what is left, how often it is seen."""
    read = tally["steps"].get("read", {"kept": 0, "kept_chars": 0, "dropped": {}})
    share = mixture["shares"].get(name, {"epochs": 0.0, "weight": None})
    unique = mixture["unique"].get(name, {"documents": 0, "tokens": 0})
    tokens = sum(shard["tokens_by_source"][number] for shard in train)
    total = sum(shard["tokens"] for shard in train)
    return {
        "name": name,
        "rows": read["kept"] + sum(count for count, _ in read["dropped"].values()),
        "documents": read["kept"],
        "chars": read["kept_chars"],
        "train_documents": unique["documents"],
        "train_tokens": unique["tokens"],
        "seen_documents": sum(shard["documents_by_source"][number] for shard in train),
        "seen_tokens": tokens,
        "weight": share["weight"],
        "epochs_asked": round(share["epochs"], 6),
        "epochs": round(tokens / unique["tokens"], 6) if unique["tokens"] else 0.0,
        "share": round(tokens / total, 6) if total else 0.0,
    }


def _steps(tallies: dict[str, Json]) -> Iterator[Json]:
    """Each step over all sources: what came in, what went on, what was dropped and why."""
    for step, title in STEPS.items():
        mine = {name: t["steps"][step] for name, t in tallies.items() if step in t["steps"]}
        if not mine:
            continue
        reasons: dict[str, Json] = {}
        examples: dict[str, list[Json]] = defaultdict(list)
        for name, tally in tallies.items():
            for reason, (count, chars) in mine.get(name, {"dropped": {}})["dropped"].items():
                row = reasons.setdefault(reason, {"documents": 0, "chars": 0, "by_source": {}})
                row["documents"] += count
                row["chars"] += chars
                row["by_source"][name] = count
            for (of, reason), rows in tally["dropped_examples"].items():
                if of == step:
                    examples[reason] += [{"source": name, **row} for row in rows]
        dropped = sum(row["documents"] for row in reasons.values())
        kept = sum(one["kept"] for one in mine.values())
        yield {
            "step": step,
            "title": title,
            "entered": kept + dropped,
            "kept": kept,
            "kept_chars": sum(one["kept_chars"] for one in mine.values()),
            "dropped": dropped,
            "kept_by_source": {name: one["kept"] for name, one in mine.items()},
            "reasons": [
                {"reason": reason, **row, "examples": _three(examples[reason])}
                for reason, row in sorted(reasons.items(), key=lambda i: (-i[1]["documents"], i[0]))
            ],
            "kept_examples": _three(
                [{"source": name, **row} for name, t in tallies.items()
                 for row in t["told_examples"].get(step, [])]
            ),
        }  # fmt: skip


def _too_much(step: Json) -> str:
    """What to think of a toxicity step that drops more than a corpus has of that; else nothing."""
    if step["step"] != "toxicity" or step["dropped"] <= MANY * step["entered"]:
        return ""
    return (
        f"The toxicity step dropped {step['dropped'] / step['entered']:.0%} of the documents that "
        "it saw. Text unlike all of its examples may score anything: look at what was dropped, and "
        "name harmless text of the same kind under toxicity.harmless."
    )


def _three(rows: list[Json]) -> list[Json]:
    chosen = sorted(rows, key=lambda row: (row["draw"], row["place"], row["text"]))[:3]
    return [{key: value for key, value in row.items() if key != "draw"} for row in chosen]


def _of_classifier(facts: Json, tallies: dict[str, Json], plan: Plan) -> Json:
    """How well it parts the classes, and by score what came, what stayed and what the rule says."""
    config = plan.recipe.classifier
    if config is None or not facts or "left_out" in facts:
        return facts
    came, stayed = _extra(tallies, "score "), _extra(tallies, "kept score ")
    return facts | {
        "by_score": [
            {
                "from": bin_ / 10,
                "documents": came.get(str(bin_), 0),
                "kept": stayed.get(str(bin_), 0),
                "rule_low": keep_probability(bin_ / 10, config.alpha),
                "rule_high": keep_probability((bin_ + 1) / 10, config.alpha),
            }
            for bin_ in range(10)
        ]
    }


def _benchmarks(plan: Plan, tallies: dict[str, Json]) -> list[Json]:
    """For each benchmark file what the step covers: items, too short ones, documents, runs."""
    if plan.recipe.decontaminate is None:
        return []
    hit = _extra(tallies, "benchmark ")
    return [
        fact | {"documents": hit.get(str(number), 0)}
        for number, fact in enumerate(benchmarks_of(plan).facts)
    ]


def _extra(tallies: dict[str, Json], prefix: str) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for tally in tallies.values():
        for key, count in tally["extra"].items():
            if key.startswith(prefix):
                found[key.removeprefix(prefix)] += count
    return dict(sorted(found.items()))


def summary(card: Json) -> Iterator[str]:
    """What a build says in the end: what each step kept, and what a person should know of it."""
    yield f"corpus {card['name']}"
    yield f"  {'step':<22}{'came in':>13}{'dropped':>13}{'kept':>13}"
    for step in card["steps"]:
        counts = "".join(f"{step[key]:>13,}" for key in ("entered", "dropped", "kept"))
        yield f"  {step['title']:<22}{counts}"
    for part, what in (("train", "mixture to train on"), ("valid", "held out")):
        counts = f"{card['documents'][part]:>13,} documents{card['tokens'][part]:>20,} tokens"
        yield f"  {what:<22}{counts}"
    for why in whys(card):
        yield from textwrap.wrap(why, 78, initial_indent="  ", subsequent_indent="    ")
    for note in card["notes"]:
        yield from textwrap.wrap(note, 78, initial_indent="  note: ", subsequent_indent="        ")


def whys(card: Json) -> list[str]:
    """Why what came into a step is not what the step before it kept, where that is so."""
    found = []
    if "by_score" in card["classifier"]:
        found.append("The classifier is asked about raw sources alone.")
    sources = card["recipe"]["sources"]
    for step in OF_SOURCES:
        without = [s["name"] for s in sources if s.get(step, card["recipe"][step]) is None]
        if 0 < len(without) < len(sources):
            found.append(f"{STEPS[step]}: not a step of {', '.join(without)}.")
    if card["cut"]["documents cut"]:
        found.append("A document that is cut goes on as its pieces.")
    return found


def render(card: Json) -> str:
    """The card as one page without scripts."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,  # whatever the web holds stands in the examples
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"amount": amount, "share": share, "setting": setting}
    choice = [step for step in STEPS if step != "read"]
    asked = [step for step in choice if card["recipe"][step] is not None]
    page: str = environment.get_template("card.html.j2").render(
        card=card,
        whys=whys(card),
        asked=asked,
        not_asked=[step for step in choice if step not in asked and not _is_a_source_s(step, card)],
        of_sources=OF_SOURCES,
        css=(HERE / "card.css").read_text(encoding="utf-8"),
        widest=max((step["entered"] for step in card["steps"]), default=1) or 1,
    )
    return page


def _is_a_source_s(step: str, card: Json) -> bool:
    return any(source.get(step) is not None for source in card["recipe"]["sources"])


def amount(number: float) -> str:
    """A large number with three digits and its unit: 1.23 M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:  # rounded, it would have four digits of the unit below
            return f"{number / size:#.3g}".rstrip(".") + f" {unit}"
    return f"{number:,.0f}"


def share(part: float, whole: float) -> str:
    """A part in percent; what is not nothing, or not all, is not called so."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.05 or 99.95 <= percent < 100:
        return "<0.1 %" if percent < 1 else ">99.9 %"
    return f"{percent:.1f} %"


def setting(value: Any) -> str:
    """A value of the recipe as its author would write it."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
