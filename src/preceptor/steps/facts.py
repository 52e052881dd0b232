"""What a run ran on, and what went wrong in it."""

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """What the run ran on."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu_threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
    }


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    import preceptor

    names = ("torch", "transformers", "tokenizers", "numpy", "peft", "safetensors")
    return {"preceptor": preceptor.__version__} | {name: version(name) for name in names}


def read_alarms(out: Path, stages: Sequence[str]) -> list[dict[str, Any]]:
    """Every alarm of these stages of a run."""
    paths = [out / stage / "alarms.jsonl" for stage in stages]
    return [
        json.loads(line)
        for path in paths
        if path.is_file()
        for line in path.read_text(encoding="utf-8").split("\n")
        if line
    ]
