"""K-wise against shuffled pairs on rankings of real text, with SmolLM2-135M as the base.

    python benchmarks/real_rankings.py RANKINGS.jsonl.gz [MORE ...] --out FOLDER

InstructGPT (section 3.5) says that comparisons shuffled into one data set overfit within a single
pass, because each response then gets up to K - 1 updates, and that all pairs of a prompt in one
batch element do not. Here both are trained on the same prompts, for as many optimizer steps with
as many comparisons in each, and looked at on held-out prompts after every quarter of an epoch.

To afford that on two cores only the last token's pass is trained (last_token.py); `--trained all`
is the reward model's whole pass, about a hundred times as dear. Loss, optimizer, schedule and the
token that is read are the reward model's own.

Files are split by prompt. FOLDER gets runs.jsonl, a line a run; a run that stands there is not made
again, so the same command goes on where it was stopped, and ends with the same table.
"""

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from last_token import keep_top, saved_memory, score_last
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.config import RewardConfig
from preceptor.data.batching import split_by_tokens
from preceptor.data.records import Ranking, read_records, text_of
from preceptor.functional import ranking_loss
from preceptor.models.gguf import smollm2_folder
from preceptor.models.halves import halve_frozen
from preceptor.models.load import load_tokenizer, scalar_from_policy, scalar_head, trunk
from preceptor.models.precision import precision
from preceptor.models.tokenizers import encode_prompt, encode_response
from preceptor.randomness import batch_indices, derived_seed, numpy_generator
from preceptor.report.plots import Series, lines
from preceptor.stages.reward import RankedPrompt, Scoring, as_table, prompt_losses, score_grouped
from preceptor.statistics.agreement import ranking_accuracy
from preceptor.statistics.bootstrap import cluster_bootstrap, paired_difference
from preceptor.statistics.estimate import Estimate
from preceptor.training.optimization import (
    accumulate,
    load_trainable,
    make_optimizer,
    scheduled_rate,
    take_step,
    trainable_state,
)

LOOKS = 4
"""Looks at the held-out prompts in an epoch."""
COLORS = {"kwise": "#1a6fb0", "pairs": "#c2571a"}
Json = dict[str, Any]


# 1. Rankings as ids.


@dataclass(frozen=True)
class Item:
    """One ranked prompt, where it is from, and the characters of its whole responses."""

    file: str
    key: str
    ranked: RankedPrompt
    lengths: list[int]


def read_items(
    path: Path, tokenizer: PreTrainedTokenizerBase, longest_prompt: int, longest_response: int
) -> list[Item]:
    """Rankings with a pair; longer prompts are left out, and longer responses are cut."""
    opener = gzip.open if path.suffix == ".gz" else open
    with tempfile.TemporaryDirectory() as folder, opener(path, "rb") as file:
        plain = Path(folder) / path.name
        plain.write_bytes(file.read())
        records = read_records(plain, Ranking)
    items = []
    for record in records:
        prompt = encode_prompt(tokenizer, record.prompt)
        responses = [encode_response(tokenizer, t)[:longest_response] for t in record.responses]
        ranked = RankedPrompt(prompt, responses, [record.ranks])
        if ranked.pairs and len(prompt) <= longest_prompt:
            lengths = [len(text) for text in record.responses]
            items.append(Item(path.name.split(".")[0], text_of(record.prompt), ranked, lengths))
    return items


def in_folds(items: Sequence[Item], num_folds: int) -> Iterator[tuple[list[Item], list[Item]]]:
    """(train, held out), split by prompt; every prompt is held out once."""
    keys = sorted({item.key for item in items})
    order = numpy_generator(0, "folds").permutation(len(keys))
    fold = {keys[place]: number % num_folds for number, place in enumerate(order)}
    for own in range(num_folds):
        yield [i for i in items if fold[i.key] != own], [i for i in items if fold[i.key] == own]


def as_pairs(items: Sequence[RankedPrompt]) -> list[RankedPrompt]:
    """Every comparison as an example of its own."""
    return [
        RankedPrompt(item.prompt, [item.responses[i], item.responses[j]], [[ranks[i], ranks[j]]])
        for item in items
        for ranks in item.rankings
        for i, j in combinations(range(len(ranks)), 2)
        if ranks[i] != ranks[j]
    ]


# 2. Training and looking.


@dataclass(frozen=True)
class Setting:
    """What a run is made of; all of it stands in its line of runs.jsonl."""

    train: str
    way: str
    rate: float
    epochs: int
    fold: str
    trained: str
    layers: int
    longest_prompt: int
    longest_response: int
    batch: int
    base: str
    head: str

    @property
    def config(self) -> RewardConfig:
        return RewardConfig(
            learning_rate=self.rate,
            schedule="linear",
            warmup_fraction=0.05,
            batch_prompts=self.batch,
            num_epochs=self.epochs,
            precision="bf16",
            microbatch_tokens=32768 if self.trained == "last" else 4096,
        )


def train(
    model: PreTrainedModel,
    setting: Setting,
    items: Sequence[Item],
    held_out: Sequence[Item],
    score: Scoring,
    seed: int,
) -> list[Json]:
    """The curve: training loss of each part of an epoch, and a look at the held-out prompts."""
    config = setting.config
    examples = [item.ranked for item in items]
    # As many optimizer steps in both ways, and as many comparisons in a step on average.
    steps_per_epoch = max(1, round(len(examples) / config.batch_prompts))
    num_steps = steps_per_epoch * config.num_epochs
    if setting.way == "pairs":
        examples = as_pairs(examples)
    size = round(len(examples) / steps_per_epoch)
    parts = LOOKS * config.num_epochs
    due = {round(part * num_steps / parts): part / LOOKS for part in range(1, parts + 1)}
    optimizer = make_optimizer(model, config)
    curve = [{"epoch": 0.0, "train_loss": None, **summary(look(model, held_out, config, score))}]
    losses: list[float] = []
    for step in range(num_steps):
        where = f"{setting.way} step {step + 1}"
        picks = batch_indices(len(examples), size, step, seed=seed, purpose="reward")
        batch = [examples[i] for i in picks]
        losses.append(accumulate(prompt_losses(model, batch, config, score), where))
        rate = scheduled_rate(config, step, num_steps, config.learning_rate)
        take_step(optimizer, learning_rate=rate, max_grad_norm=config.max_grad_norm, where=where)
        if step + 1 in due:
            found = summary(look(model, held_out, config, score))
            curve.append({"epoch": due[step + 1], "train_loss": statistics.fmean(losses), **found})
            losses.clear()
    return curve


@torch.no_grad()
def look(
    model: PreTrainedModel, items: Sequence[Item], config: RewardConfig, score: Scoring
) -> list[Json]:
    """Of each prompt: its pairs, how many the model and length alone order right, and the loss."""
    rows: list[Json] = []
    sizes = [len(i.ranked.prompt) + sum(map(len, i.ranked.responses)) for i in items]
    for group in split_by_tokens(sizes, config.microbatch_tokens):
        own = [items[i] for i in group]
        with precision(config.precision):
            flat = score(model, [item.ranked for item in own])
        for item, scores in zip(own, flat.split([len(i.lengths) for i in own]), strict=True):
            ranks = item.ranked.rankings[0]
            correct, pairs = ranking_accuracy(scores.tolist(), ranks)
            longer, _ = ranking_accuracy(item.lengths, ranks)
            loss = float(ranking_loss(*as_table(scores, [item.ranked])))
            rows.append(
                {
                    "file": item.file,
                    "key": item.key,
                    "pairs": pairs,
                    "correct": correct,
                    "longer": longer,
                    "loss": loss,
                }
            )
    return rows


def summary(rows: Sequence[Json]) -> Json:
    """Held-out loss, a mean over prompts, and accuracy over pairs."""
    return {
        "loss": statistics.fmean(row["loss"] for row in rows),
        "accuracy": sum(row["correct"] for row in rows) / sum(row["pairs"] for row in rows),
    }


# 3. Tables and curves.


def print_results(runs: Sequence[Json]) -> None:
    """Accuracy on held-out prompts over all folds, beside length; then K-wise against pairs."""
    print(f"{'tested on':16}{'epochs':>7} {'way':7}{'rate':>6}{'folds':>6}  {'loss':7}accuracy")
    for file in dict.fromkeys(row["file"] for run in runs for row in run["held_out"]):
        for epochs in dict.fromkeys(run["epochs"] for run in runs):
            best: dict[str, list[Json]] = {}
            for way, rate in dict.fromkeys((run["way"], run["rate"]) for run in runs):
                own = [r for r in runs if (r["way"], r["rate"], r["epochs"]) == (way, rate, epochs)]
                if not own:
                    continue
                rows = rows_of(own, file)
                loss = mean_loss(rows)
                length, gain = over_length(rows)
                print(
                    f"{file:16}{epochs:7} {way:7}{rate:6.0e}{len(own):6}  {loss:.3f}  "
                    f"{written(over_pairs(rows, 'correct'))}  {length}  gain {written(gain)}"
                )
                if way not in best or loss < mean_loss(best[way]):
                    best[way] = rows
            if len(best) == 2 and len(best["kwise"]) == len(best["pairs"]):
                accuracy, loss_gap = kwise_over_pairs(best["kwise"], best["pairs"])
                print(
                    f"{file:16}{epochs:7} K-wise minus pairs, each at its rate of least loss: "
                    f"accuracy {written(accuracy)}, loss {written(loss_gap)}"
                )


def rows_of(runs: Sequence[Json], file: str) -> list[Json]:
    """Held-out prompts of a file, in an order that all runs share."""
    rows = [row | {"fold": r["fold"]} for r in runs for row in r["held_out"] if row["file"] == file]
    return sorted(rows, key=lambda row: (row["key"], row["fold"]))


def mean_loss(rows: Sequence[Json]) -> float:
    return statistics.fmean(row["loss"] for row in rows)


def pair_values(rows: Sequence[Json], name: str) -> list[float]:
    """A prompt's share of right pairs, once for each of its pairs."""
    return [row[name] / row["pairs"] for row in rows for _ in range(row["pairs"])]


def pair_prompts(rows: Sequence[Json]) -> list[str]:
    return [row["key"] for row in rows for _ in range(row["pairs"])]


def over_pairs(rows: Sequence[Json], name: str) -> Estimate:
    return cluster_bootstrap(pair_values(rows, name), pair_prompts(rows))


def over_length(rows: Sequence[Json]) -> tuple[str, Estimate]:
    """The length baseline, its side told and not learned, and the model's accuracy over it."""
    lengths, side = pair_values(rows, "longer"), "longer"
    if statistics.fmean(lengths) < 0.5:
        lengths, side = [1 - value for value in lengths], "shorter"
    gain = paired_difference(pair_values(rows, "correct"), lengths, pair_prompts(rows))
    return f"{side} wins {statistics.fmean(lengths):.3f}", gain


def kwise_over_pairs(kwise: Sequence[Json], pairs: Sequence[Json]) -> tuple[Estimate, Estimate]:
    """Differences in accuracy and in loss on the same prompts."""
    accuracy = paired_difference(
        pair_values(kwise, "correct"), pair_values(pairs, "correct"), pair_prompts(kwise)
    )
    loss = paired_difference(
        [row["loss"] for row in kwise],
        [row["loss"] for row in pairs],
        [row["key"] for row in kwise],
    )
    return accuracy, loss


def written(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def print_curves(runs: Sequence[Json]) -> None:
    """Losses and held-out accuracy by epoch, means over folds."""
    for epochs, way, rate in dict.fromkeys((r["epochs"], r["way"], r["rate"]) for r in runs):
        own = [r for r in runs if (r["epochs"], r["way"], r["rate"]) == (epochs, way, rate)]
        print(f"\n{way}, rate {rate:.0e}, {len(own)} folds")
        for name in ("epoch", "train_loss", "loss", "accuracy"):
            values = curve_of(own, name)
            print(f"  {name:11}", *(f"{v:6.3f}" for v in values), sep=" ")


def curve_of(runs: Sequence[Json], name: str) -> list[float]:
    """One number after each part of an epoch, a mean over runs."""
    columns = list(zip(*(run["curve"] for run in runs), strict=True))[1:]
    return [statistics.fmean(found[name] for found in column) for column in columns]


def draw(runs: Sequence[Json], path: Path, title: str) -> None:
    """Held-out loss by epoch, K-wise and pairs, as an SVG file."""
    series = [
        Series(COLORS[way], curve_of(own, "epoch"), curve_of(own, "loss"), "points")
        for way in COLORS
        if (own := [run for run in runs if run["way"] == way])
    ]
    svg = lines(title, series, x_label="epochs", y_label="held-out loss, nats per pair", wide=True)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    path.write_text(svg.replace("<svg ", f"<svg {spaces} ", 1) + "\n", encoding="utf-8")


# 4. The experiment.


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="K-wise against shuffled pairs on real rankings.")
    parser.add_argument("files", nargs="+", type=Path, help="rankings, .jsonl or .jsonl.gz")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and memories")
    parser.add_argument("--test", nargs="*", type=Path, default=[], help="files to test on only")
    parser.add_argument("--way", nargs="+", choices=list(COLORS), default=list(COLORS))
    parser.add_argument("--rate", nargs="+", type=float, default=[3e-5])
    parser.add_argument("--epochs", nargs="+", type=int, default=[1])
    parser.add_argument("--batch", type=int, default=4, help="prompts in a step")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", nargs="+", type=int, help="these folds, from 0")
    parser.add_argument("--trained", choices=("last", "all"), default="last", help="tokens")
    parser.add_argument("--layers", type=int, default=10, help="layers to train, from the top")
    parser.add_argument("--longest-prompt", type=int, default=512)
    parser.add_argument("--longest-response", type=int, default=384)
    parser.add_argument("--head", choices=("random", "zero"), default="random", help="its start")
    parser.add_argument("--base", type=Path, help="a model folder instead of SmolLM2's")
    parser.add_argument("--draw", type=Path, help="file for an SVG of the curves")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    torch.set_flush_denormal(True)
    given.out.mkdir(parents=True, exist_ok=True)

    # 1. The base with its top layers trainable, and the files as ids.
    base = given.base or smollm2_folder()
    tokenizer = load_tokenizer(base, 2**31)
    seed = derived_seed(0, "reward/head") if given.head == "random" else None
    model = scalar_from_policy(base, seed)
    model.requires_grad_(False)
    for part in (trunk(model).layers[-given.layers :], trunk(model).norm, scalar_head(model)):
        part.requires_grad_(True)
    halve_frozen(model, "all")
    limits = given.longest_prompt, given.longest_response
    read = {path: read_items(path, tokenizer, *limits) for path in [*given.files, *given.test]}
    items = [item for path in given.files for item in read[path]]
    tested = [item for path in given.test for item in read[path]]

    # 2. The frozen base's one pass, if only the last token's is trained.
    score: Scoring = score_grouped
    if given.trained == "last":
        memories = []
        for path, own in read.items():
            began = time.monotonic()
            limits_text = f"{given.longest_prompt}-{given.longest_response}"
            saved = given.out / f"{base.name}-{given.layers}-{path.name}-{limits_text}.safetensors"
            memories.append(saved_memory(model, [i.ranked for i in own], given.layers, saved))
            tokens, seconds = len(memories[-1].past), time.monotonic() - began
            print(
                f"{path.name}: {len(own)} prompts, {tokens:,} tokens, {seconds:.0f} s", flush=True
            )
        with torch.no_grad(), precision("bf16"):
            whole = score_grouped(model, [items[0].ranked])
            keep_top(model, given.layers)
            score = partial(score_last, memories=memories)
            gap = float((score(model, [items[0].ranked]) - whole).abs().max())
        print(f"before training, scores differ from the whole pass's by {gap:.3f}", flush=True)
    start = trainable_state(model)

    # 3. Every way and rate on the same folds.
    record = given.out / "runs.jsonl"
    record.touch()
    made = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    name = "+".join(dict.fromkeys(item.file for item in items))
    folds = list(enumerate(in_folds(items, given.folds)))
    chosen = []
    for epochs, (number, (own, held_out)), rate, way in (
        (epochs, fold, rate, way)
        for epochs in given.epochs
        for fold in folds
        for rate in given.rate
        for way in given.way
        if given.only is None or fold[0] in given.only
    ):
        setting = Setting(
            name, way, rate, epochs, f"{number}/{given.folds}", given.trained, given.layers,
            given.longest_prompt, given.longest_response, given.batch, base.name, given.head,
        )  # fmt: skip
        if old := [run for run in made if asdict(setting).items() <= run.items()]:
            chosen.append(old[0])
            continue
        began = time.monotonic()
        load_trainable(model, start)
        seed = derived_seed(0, "real_rankings", number)
        curve = train(model, setting, own, held_out, score, seed)
        rows = look(model, [*held_out, *tested], setting.config, score)
        run = asdict(setting) | {"curve": curve, "held_out": rows}
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
        chosen.append(run)
        text = "  ".join(f"{at['loss']:.3f} {at['accuracy']:.3f}" for at in curve)
        seconds = time.monotonic() - began
        print(f"{way} rate {rate:.0e} fold {setting.fold}: {text}  {seconds:.0f} s", flush=True)

    # 4. What came out.
    print()
    print_results(chosen)
    print_curves(chosen)
    if given.draw:
        draw(chosen, given.draw, f"K-wise and shuffled pairs: {name}")


if __name__ == "__main__":
    main()
