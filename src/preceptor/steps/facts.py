"""What a run ran on, and what went wrong in it."""

import json
import platform
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


def read_alarms(out: Path) -> list[dict[str, Any]]:
    """Every alarm of the run's stages."""
    return [
        json.loads(line)
        for path in sorted(out.glob("*/alarms.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
