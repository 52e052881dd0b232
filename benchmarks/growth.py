"""How seconds and memory grow: `python benchmarks/growth.py [model response batch k]`.

An iteration of PPO along its model's size, the response's length and the batch, and a step of the
reward model along K; everything else stays. Two warm-up turns, the median of five. The exponent is
that of a power of the axis, by least squares on logarithms.
"""

import dataclasses
import json
import statistics
import sys
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


def main() -> None:
    """A table of Markdown, and an exponent for each axis."""
    print("| axis | at | seconds | memory, GB |\n|---|---|---|---|", flush=True)
    for axis in sys.argv[1:] or AXES:
        places, seconds = [], []
        for work in AXES[axis]:
            found, memory = measure(work)
            places.append(place(axis, work))
            seconds.append(found)
            print(f"| {axis} | {places[-1]:,} | {found:.2f} | {memory / 1e9:.2f} |", flush=True)
        exponent = float(np.polyfit(np.log(places), np.log(seconds), 1)[0])
        print(f"| {axis} | exponent | **{exponent:.2f}** | |", flush=True)


if __name__ == "__main__":
    main()
