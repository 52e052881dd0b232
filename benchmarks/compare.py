"""Ours and peers on the same work, in turn: `preceptor bench [WORK ...]`.

Each side is a process of its own, in an environment of its own, that has loaded the same weights
and data. In every round each does one turn while the others wait, so that a machine that grows
slower or faster does so for all. The first rounds warm up. Ratios are medians of a round's ratios.

`make bench-peers` makes the peers' environment from benchmarks/peers.txt, and
`make bench-serving-peers` that of engines that serve from benchmarks/serving.txt.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from works import WORKS, Work, write_inputs

HERE = Path(__file__).parent
PEERS = HERE.parent / ".venv-peers/bin/python"
SERVING = HERE.parent / ".venv-serving/bin/python"
SIDES = {
    "ppo": ["trl", "trl-no-checkpointing"],
    "rollout": ["generate"],
    "serve": ["vllm", "llama.cpp"],
    "reward": ["trl", "trl-no-checkpointing"],
    "sft": ["trl", "trl-no-checkpointing", "trl-wrapped", "trl-wrapped-no-checkpointing"],
    "pretrain": ["transformers"],
}
"""The peers of each kind of work."""
Json = dict[str, Any]


@dataclass
class Worker:
    """One side: its process, and what its turns took."""

    side: str
    process: subprocess.Popen[str]
    log: Path
    turns: list[Json] = field(default_factory=list)

    def turn(self) -> Json:
        """Let it work once."""
        told, heard = cast(TextIO, self.process.stdin), cast(TextIO, self.process.stdout)
        try:
            told.write("go\n")
            told.flush()
        except BrokenPipeError:
            pass  # it ended; the empty answer says so
        line = heard.readline()
        if not line:
            self.stop()
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise SystemExit(f"{self.side} ended with status {self.process.returncode}:\n{tail}")
        found: Json = json.loads(line)
        return found

    def stop(self) -> None:
        """End it, or wait for it to have ended."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()  # no more turns: it ends by itself
        self.process.wait()
        cast(TextIO, self.process.stdout).close()


def start(side: str, name: str, folder: Path, peers: Path) -> Worker:
    """A side's process; it waits for its first turn."""
    if side == "ours":
        python, script = sys.executable, "ours.py"
    else:
        python, script = str(peers), "serving.py" if side in SIDES["serve"] else "peers.py"
    arguments = [name, str(folder), *([] if side == "ours" else [side])]
    log = folder / f"{side}.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [python, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    return Worker(side, process, log)


def compare(
    name: str, sides: list[str], peers: Path, rounds: int, warm_up: int, folder: Path
) -> list[Worker]:
    """All sides on one work, in turn."""
    write_inputs(name, folder)
    workers = [start(side, name, folder, peers) for side in sides]
    try:
        for number in range(warm_up + rounds):
            for worker in workers:
                found = worker.turn()
                if number >= warm_up:
                    worker.turns.append(found)
                print(
                    f"  {name} {number + 1 - warm_up:+d} {worker.side} {found['seconds']:.2f} s, "
                    f"{found['processor']:.2f} of a core",
                    file=sys.stderr,
                    flush=True,
                )
    finally:
        for worker in workers:
            worker.process.kill()
            worker.stop()
    return workers


def rates(worker: Worker, clock: str) -> list[float]:
    return [turn["amount"] / turn[clock] for turn in worker.turns]


def rows_of(name: str, work: Work, workers: list[Worker], clock: str = "seconds") -> list[str]:
    """Markdown: a row for each peer, or one for ours alone."""
    ours = rates(workers[0], clock)
    memory = max(turn["memory"] for turn in workers[0].turns) / 1e9
    own = f"{statistics.median(ours):,.4g} {work.unit}/s, {memory:.2f} GB"
    rows = []
    for worker in workers[1:]:
        theirs = rates(worker, clock)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        memory = max(turn["memory"] for turn in worker.turns) / 1e9
        rows.append(
            f"| {name} | {worker.side} | {own} | {statistics.median(theirs):,.4g}, {memory:.2f} GB "
            f"| **{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    if not rows:
        rows.append(f"| {name} | | {own} | | |")
    parts = [turn["parts"] for turn in workers[0].turns]
    if all("update_products" in part for part in parts):
        shares = [
            part["update_products"] / part["update_seconds"] / part["bf16_peak"] for part in parts
        ]
        spent = {
            key: statistics.median(part[key] for part in parts)
            for key in ("sample_seconds", "update_seconds")
        }
        peaks = [part["bf16_peak"] / 1e9 for part in parts]
        whole = statistics.median(turn["seconds"] for turn in workers[0].turns)
        rows.append(
            f"| {name} | its parts | {whole:.2f} s: sampling {spent['sample_seconds']:.2f}, update "
            f"{spent['update_seconds']:.2f} | peak before each {statistics.median(peaks):.0f} "
            f"({min(peaks):.0f} to {max(peaks):.0f}) GFLOP/s | update at "
            f"**{statistics.median(shares):.0%}** ({min(shares):.0%} to {max(shares):.0%}) of it |"
        )
    return rows


def main() -> None:
    """Measure the machine, then every work asked for; print a table of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("works", nargs="*", metavar="WORK", help=", ".join(WORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--peers", type=Path, default=PEERS, help="their environment's Python")
    parser.add_argument(
        "--serving", type=Path, default=SERVING, help="that of the engines that serve"
    )
    parser.add_argument("--alone", action="store_true", help="ours only, without a peer")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="rates by seconds of a core and not by the clock: beside other work, with "
        "OMP_NUM_THREADS=1, for threads that wait for each other are counted too",
    )
    given = parser.parse_args()
    unknown = [name for name in given.works if name not in WORKS]
    if unknown:
        parser.error(f"no work named {unknown[0]}; there are {', '.join(WORKS)}")
    if given.rounds < 1 or given.warm_up < 1:
        parser.error("--rounds and --warm-up must be 1 or more: the first turn loads and compiles")
    kinds = {WORKS[name].kind for name in given.works or WORKS}
    for python, target, needed in (
        (given.peers, "bench-peers", bool(kinds - {"serve"})),
        (given.serving, "bench-serving-peers", "serve" in kinds),
    ):
        if needed and not given.alone and not python.is_file():
            parser.error(f"{python} is missing. `make {target}` makes it; or give --alone.")
    told = subprocess.run(
        [sys.executable, str(HERE / "machine.py")], stdout=subprocess.PIPE, text=True, check=True
    )
    machine = json.loads(told.stdout)
    clock = "processor" if given.processor_time else "seconds"
    bf16, fp32, copied = (f"{machine[key] / 1e9:.0f}" for key in ("bf16", "fp32", "copy"))
    print(
        f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}; matrix "
        f"products at most {bf16} GFLOP/s in bf16, {fp32} in fp32; memory copied at {copied} GB/s\n"
    )
    print("| work | peer | ours | theirs | ratio of the rates: median (least to most) |")
    print("|---|---|---|---|---|", flush=True)
    for name in given.works or WORKS:
        work = WORKS[name]
        sides = ["ours", *([] if given.alone or work.lora or work.spare else SIDES[work.kind])]
        python = given.serving if work.kind == "serve" else given.peers
        # Three processes with a large model and Adam's state are more than 24 GB.
        small = work.shape == "6M" or work.kind == "serve"
        together = [sides] if small else [["ours", s] for s in sides[1:]] or [sides]
        for some in together:
            with tempfile.TemporaryDirectory() as folder:
                workers = compare(name, some, python, given.rounds, given.warm_up, Path(folder))
            for row in rows_of(name, work, workers, clock):
                print(row, flush=True)


if __name__ == "__main__":
    main()
