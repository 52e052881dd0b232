"""The page of a pretrained model: `python benchmarks/english_small.py runs/english-small`.

Draws its losses into docs/english-small.svg and writes its figures and samples into the part of
docs/english-small.md that lies between the two marks; the words around it stay.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preceptor.report.pictures import HELD_OUT, TRAINING
from preceptor.report.plots import Series, lines
from preceptor.report.reading import read_run
from preceptor.training.folder import read_json

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- from here on by benchmarks/english_small.py -->", "<!-- up to here -->"
SHOWN = 300
"""Characters of a sample."""


def main() -> None:
    """Draw the curve and write the page's figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--docs", type=Path, default=DOCS)
    args = parser.parse_args()
    draw(args.run, args.docs / "english-small.svg")
    page = args.docs / "english-small.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    curve = "![Loss on training and on held-out text](english-small.svg)"
    made = "\n".join([BEGIN, "", curve, "", *figures(args.run), END])
    page.write_text(before + made + after, encoding="utf-8")


def draw(run: Path, path: Path) -> None:
    """Training and held-out loss over the tokens that were trained on."""
    read = read_run(run)
    rows = read.metrics["pretrain"]
    millions = {row["step"]: row["pretrain/tokens"] / 1e6 for row in rows}
    series = []
    for key, color, kind in (("loss", TRAINING, "faint"), ("valid_loss", HELD_OUT, "points")):
        steps, values = read.series("pretrain", key)
        series.append(Series(color, [millions[step] for step in steps], values, kind))
    svg = lines(
        "Loss: training (light), held-out text (dark)",
        series,
        x_label="million tokens",
        y_label="nats a token",
        wide=True,
    )
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    path.write_text(svg.replace("<svg ", f"<svg {spaces} ", 1) + "\n", encoding="utf-8")


def figures(run: Path) -> Iterator[str]:
    """The tables and the samples, as Markdown."""
    summary = read_json(run / "pretrain" / "done.json")["summary"]
    metrics = read_run(run).metrics["pretrain"]
    yield (
        f"{summary['parameters']:,} weights, {summary['steps']:,} steps, "
        f"{metrics[-1]['pretrain/tokens'] / 1e6:.1f} million tokens, "
        f"{summary['seconds'] / 60:.0f} minutes."
    )
    yield from [
        "",
        "| text in training | documents | million characters | share |",
        "|---|---|---|---|",
    ]
    count, chars = corpus(run / "data" / "corpus-train.jsonl")
    for source in sorted(chars, key=lambda name: -chars[name]):
        share = chars[source] / sum(chars.values())
        yield f"| {source} | {count[source]:,} | {chars[source] / 1e6:.2f} | {share:.0%} |"
    yield from [
        "",
        "| held-out text | sequences | nats a token | bits a byte |",
        "|---|---|---|---|",
    ]
    for source, found in summary["held_out"].items():
        name = "the corpus's own mixture" if source == "all" else source
        numbers = f"{found['sequences']} | {found['loss']:.3f} | {found['bits_per_byte']:.3f}"
        yield f"| {name} | {numbers} |"
    yield ""
    lines_of = (run / "pretrain" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    yield from samples([json.loads(line) for line in lines_of])
    yield ""


def samples(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What the model was given and went on with; not where it wrote nothing."""
    shown = [row for row in rows if row["response"].strip()]
    told = "**Bold** is what the model was given, how a held-out text begins; the rest it wrote."
    if left_out := len(rows) - len(shown):
        told += f"\nLeft out are {left_out} of {len(rows)}, after which it wrote nothing."
    yield told
    yield ""
    for row in shown:
        given = one_line(row["prompt"])
        blank = " " * given.endswith(" ")  # bold text must not end with one
        yield f"* *{row['source']}*: **{given.strip()}**{blank}{written(row)}"


def corpus(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Documents and characters by source; a document that is met twice counts twice."""
    count: dict[str, int] = {}
    chars: dict[str, int] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            count[row["source"]] = count.get(row["source"], 0) + 1
            chars[row["source"]] = chars.get(row["source"], 0) + len(row["text"])
    return count, chars


def written(row: dict[str, Any]) -> str:
    """What the model wrote, in one line; a square where it ended the text."""
    text = one_line(row["response"])
    cut = text if len(text) <= SHOWN else text[:SHOWN].rsplit(" ", 1)[0] + " .."
    return cut + (" ■" if row["finished"] and cut == text else "")


def one_line(text: str) -> str:
    """Line ends as slashes, and nothing that Markdown would take for its own."""
    text = " / ".join(part for part in text.split("\n") if part.strip()) if "\n" in text else text
    for mark in ("\\", "*", "_", "`", "<", "[", "|"):
        text = text.replace(mark, "\\" + mark)
    return text


if __name__ == "__main__":
    main()
