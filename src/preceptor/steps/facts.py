"""What a run ran on, and what went wrong in it."""

import platform
import resource
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from preceptor.models import kernels
from preceptor.training.folder import read_lines


def machine() -> dict[str, Any]:
    """What the run ran on."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu_threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "kernels": kernels.missing() or "compiled",
    }


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    import preceptor

    names = ("torch", "transformers", "tokenizers", "numpy", "peft", "safetensors")
    return {"preceptor": preceptor.__version__} | {name: version(name) for name in names}


def peak_memory() -> int:
    """The most memory that this process has held, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_alarms(out: Path, stages: Sequence[str]) -> list[dict[str, Any]]:
    """Every alarm of these stages of a run."""
    return [row for stage in stages for row in read_lines(out / stage / "alarms.jsonl")]
