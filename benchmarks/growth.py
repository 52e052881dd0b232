"""How seconds and memory grow: `python benchmarks/growth.py [model response batch k]`.

An iteration of PPO along its model's size, the response's length and the batch, and a step of the
reward model along K; everything else stays. Two warm-up turns, the median of five. The exponents
of seconds and of memory are those of a power of the axis, by least squares on logarithms; memory
has what an empty process takes in it.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
from compare import Worker, start
from works import SHAPES, Work, write_inputs

PPO = Work("ppo", "6M", 64, 32, 48, minibatches=4, unit="iterations")
REWARD = Work("reward", "6M", 8, 128, 32, k=4, unit="comparisons")
AXES = {
    "model": [dataclasses.replace(PPO, shape=shape) for shape in ("2M", "6M", "21M")],
    "response": [dataclasses.replace(PPO, response=length) for length in (24, 48, 96, 192)],
    "batch": [dataclasses.replace(PPO, batch=batch) for batch in (16, 32, 64, 128)],
    "k": [dataclasses.replace(REWARD, k=k) for k in (2, 4, 6, 9)],
}
WARM_UP, TURNS = 2, 5


def place(axis: str, work: Work) -> int:
    """Where a work stands on its axis."""
    if axis != "model":
        return int(getattr(work, axis))
    shape = SHAPES[work.shape]
    return shape.matrix_parameters() + shape.vocabulary * shape.hidden_size


def measure(work: Work) -> tuple[float, float]:
    """Seconds of a turn and the peak of memory, bytes."""
    name = json.dumps(dataclasses.asdict(work))
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(name, Path(folder))
        worker: Worker = start("ours", name, Path(folder), Path())
        try:
            turns = [worker.turn() for _ in range(WARM_UP + TURNS)]
        finally:
            worker.process.kill()
            worker.stop()
    seconds = statistics.median(turn["seconds"] for turn in turns[WARM_UP:])
    return seconds, max(turn["memory"] for turn in turns)


def exponent(places: list[int], found: list[float]) -> float:
    """The power of its axis with which something grows."""
    return float(np.polyfit(np.log(places), np.log(found), 1)[0])


def main(arguments: list[str] | None = None) -> None:
    """A table of Markdown, and exponents for each axis."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("axes", nargs="*", metavar="AXIS", help=f"of {', '.join(AXES)}; none: all")
    axes = parser.parse_args(arguments).axes
    if unknown := [axis for axis in axes if axis not in AXES]:
        parser.error(f"{unknown[0]}: no such axis. There are {', '.join(AXES)}.")
    print("| axis | at | seconds | memory, GB |\n|---|---|---|---|", flush=True)
    for axis in axes or AXES:
        places, seconds, bytes_held = [], [], []
        for work in AXES[axis]:
            found, memory = measure(work)
            places.append(place(axis, work))
            seconds.append(found)
            bytes_held.append(memory)
            print(f"| {axis} | {places[-1]:,} | {found:.2f} | {memory / 1e9:.2f} |", flush=True)
        powers = [exponent(places, values) for values in (seconds, bytes_held)]
        print(f"| {axis} | exponent | **{powers[0]:.2f}** | **{powers[1]:.2f}** |", flush=True)


if __name__ == "__main__":
    main()
