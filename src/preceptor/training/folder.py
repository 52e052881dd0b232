"""A stage's folder: metrics, samples, checkpoints that resume exactly, and `done.json` last.

model/                what the stage made
checkpoints/step-N/   state.safetensors + state.json, the newest only, gone when done
checkpoints/best-N.safetensors   the weights of step N, the best so far
metrics.jsonl         deterministic values, a line a step; a resumed run writes the same bytes
timing.jsonl          what the clock said
done.json             hashes of inputs and outputs; without it nobody trusts the folder
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from preceptor.data.records import file_hash, write_text
from preceptor.errors import DataError
from preceptor.training.alarms import Alarm
from preceptor.training.progress import say

LINES = ("metrics.jsonl", "timing.jsonl", "samples.jsonl", "alarms.jsonl")


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` steps: tensors by name, and the few plain values that go with them."""

    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with `prefix/`, without it."""
        start = prefix + "/"
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}


class StageFolder:
    """Reads and writes one stage's folder; everything appears whole or not at all."""

    def __init__(self, path: Path, stage: str, input_hash: str) -> None:
        self.path = path
        self.stage = stage
        self.input_hash = input_hash

    def is_done(self) -> bool:
        """Whether the stage ended with these very inputs and its outputs are as it left them."""
        return is_done(self.path / "done.json", self.input_hash)

    def resume(self) -> Checkpoint | None:
        """The newest checkpoint of these inputs; leftovers of others, and lines after it, go.

        Raises:
            DataError: the folder holds something that no stage has put there.
        """
        started = self.path / "inputs.json"
        refuse_foreign(self.path, "inputs.json")
        stale = self.path.with_name(f"{self.path.name}.stale")
        shutil.rmtree(stale, ignore_errors=True)
        if not started.is_file() or read_json(started).get("input_hash") != self.input_hash:
            # Set aside first: half deleted, it would look like somebody else's folder.
            if self.path.exists():
                self.path.replace(stale)
            self.path.mkdir(parents=True)
            write_json(started, {"stage": self.stage, "input_hash": self.input_hash})
            shutil.rmtree(stale, ignore_errors=True)
        (self.path / "done.json").unlink(missing_ok=True)
        checkpoint = self._newest()
        step = checkpoint.step if checkpoint else -1
        for name in LINES:
            _keep_lines_up_to(self.path / name, step)
        return checkpoint

    def log(self, step: int, metrics: dict[str, float], timing: dict[str, float]) -> None:
        """Append one step's values."""
        _append(self.path / "metrics.jsonl", {"step": step} | metrics)
        _append(self.path / "timing.jsonl", {"step": step} | timing)

    def log_samples(self, step: int, rows: list[dict[str, Any]]) -> None:
        """Append responses for people to read."""
        for row in rows:
            _append(self.path / "samples.jsonl", {"step": step} | row)

    def log_alarms(self, step: int, alarms: Sequence[Alarm]) -> None:
        """Append alarms, and say each on the console."""
        for alarm in alarms:
            say(f"ALARM {self.stage} step {step}: {alarm.describe()}")
            _append(self.path / "alarms.jsonl", {"step": step, "stage": self.stage} | asdict(alarm))

    def metrics(self) -> list[dict[str, Any]]:
        """The lines logged so far."""
        return read_lines(self.path / "metrics.jsonl")

    def keep_best(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Write the weights of a step that is the best so far, so that memory need not hold them.

        The best before it stays until a checkpoint knows of this one (`save`).
        """
        (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        path = self._best(step)
        partial = path.with_name(path.name + ".partial")
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial)
        _sync(partial)
        partial.replace(path)

    def best(self, step: int) -> dict[str, Tensor]:
        """The weights that `keep_best` wrote at a step."""
        return load_file(self._best(step))

    def save(
        self,
        step: int,
        tensors: dict[str, Tensor],
        values: dict[str, Any],
        best: int | None = None,
    ) -> None:
        """Write a checkpoint beside the old one, then let it take its place.

        Of the weights that `keep_best` wrote only those of step `best` stay.
        """
        folder = self.path / "checkpoints"
        partial = folder / f"step-{step}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial / "state.safetensors")
        write_json(partial / "state.json", {"step": step} | values)
        for name in LINES:
            if (self.path / name).exists():
                _sync(self.path / name)
        _sync(partial / "state.safetensors")
        partial.replace(folder / f"step-{step}")
        for other in folder.iterdir():
            if other.is_dir() and other.name != f"step-{step}":
                shutil.rmtree(other)
            elif other.is_file() and (best is None or other != self._best(best)):
                other.unlink()

    def finish(self, summary: dict[str, Any]) -> None:
        """Write done.json, the sign that the work is complete, and only then drop checkpoints."""
        checkpoints = self.path / "checkpoints"
        outputs = [p for p in self.path.rglob("*") if p.is_file() and checkpoints not in p.parents]
        volatile = {"timing.jsonl", "done.json"}
        write_done(
            self.path / "done.json",
            stage=self.stage,
            input_hash=self.input_hash,
            outputs=[p for p in outputs if p.name not in volatile],
            summary=summary | {"seconds": self.seconds()},
        )
        shutil.rmtree(checkpoints, ignore_errors=True)

    def seconds(self) -> float:
        """Time spent in logged steps, over all starts of this stage."""
        rows = read_lines(self.path / "timing.jsonl")
        return sum(float(row.get("seconds", 0.0)) for row in rows)

    def _best(self, step: int) -> Path:
        return self.path / "checkpoints" / f"best-{step}.safetensors"

    def _newest(self) -> Checkpoint | None:
        folder = self.path / "checkpoints"
        if not folder.is_dir():
            return None
        steps = [p for p in folder.iterdir() if p.is_dir() and p.suffix != ".partial"]
        if not steps:
            return None
        newest = max(steps, key=lambda p: int(p.name.removeprefix("step-")))
        values = read_json(newest / "state.json")
        return Checkpoint(int(values["step"]), load_file(newest / "state.safetensors"), values)


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """The run folder for this process alone; made if need be, refused if it is somebody else's.

    Raises:
        DataError: it holds files that are no run's, or another process works in it.
    """
    try:
        refuse_foreign(out, "timing.json")
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out, os.O_RDONLY)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{out}: a file stands in its way. Name another folder by --out.") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise DataError(
            f"{out}: cannot be made or read ({error.strerror}). Name another folder by --out."
        ) from None
    try:
        _lock(lock, out)
        if not (out / "timing.json").is_file():
            write_json(out / "timing.json", {})  # the sign that this folder is a run
        yield
    finally:
        os.close(lock)


def _lock(folder: int, out: Path) -> None:
    """Lock an open folder; the system lets go of it however the process ends."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(
            f"{out}: another process is running in this folder. Wait for it, or name another "
            "folder by --out."
        ) from None


def refuse_foreign(folder: Path, sign: str) -> None:
    """Refuse a folder that holds files but not the one that ours have from their first moment on.

    Raises:
        DataError: there is something in it, and it is not ours to overwrite or delete.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"{folder}: a file. A folder is needed here; name another by --out.")
    names = {path.name for path in folder.iterdir()} - {f"{sign}.partial"}
    if names and sign not in names:
        raise DataError(
            f"{folder}: not empty ({min(names)}), and not made by a run. Nothing was touched. "
            "Name another folder by --out."
        )


def write_done(
    path: Path, *, stage: str, input_hash: str, outputs: list[Path], summary: dict[str, Any]
) -> None:
    """Write a done file with the hash of every output, relative to the file's folder."""
    hashes = {str(p.relative_to(path.parent)): file_hash(p) for p in sorted(outputs)}
    write_json(
        path, {"stage": stage, "input_hash": input_hash, "outputs": hashes, "summary": summary}
    )


def is_done(path: Path, input_hash: str) -> bool:
    """Whether a done file stands for these inputs and all its outputs are as it says."""
    if not path.is_file():
        return False
    done = read_json(path)
    if done.get("input_hash") != input_hash:
        return False
    files = {path.parent / name: digest for name, digest in done["outputs"].items()}
    return all(p.is_file() and file_hash(p) == digest for p, digest in files.items())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; one that is absent or broken is empty, so nobody trusts it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, FileNotFoundError):
        return {}
    return found if isinstance(found, dict) else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file that a run has written; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _keep_lines_up_to(path: Path, step: int) -> None:
    """Drop lines written after the checkpoint; the resumed run writes them again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").split("\n"):  # JSON leaves U+2028 as it is
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the process died in the middle of this line
        if row["step"] <= step:
            kept.append(line + "\n")
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(kept), encoding="utf-8")
    partial.replace(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
