"""What this machine can do at its best: `python benchmarks/machine.py` prints it as JSON."""

import json
import os
import platform
import time

import torch

SIZES = (512, 1024, 2048)
"""Rows of the square matrices; the fastest counts."""


def product_peak(dtype: torch.dtype) -> float:
    """Operations a second of the fastest matrix product, two for each multiply and add."""
    best = 0.0
    for size in SIZES:
        a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        out = torch.empty(size, size, dtype=dtype)
        torch.mm(a, b, out=out)
        for _ in range(12):
            began = time.perf_counter()
            torch.mm(a, b, out=out)
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of copying more than the caches hold."""
    source = torch.ones(2**27)
    target = torch.empty_like(source)
    target.copy_(source)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        target.copy_(source)
        best = max(best, 2 * 4 * source.numel() / (time.perf_counter() - began))
    return best


def processor() -> str:
    """Its name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            named = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        return named[0] if named else platform.processor()
    except OSError:
        return platform.processor()


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "processor": processor(),
                "cores": len(os.sched_getaffinity(0)),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "fp32": product_peak(torch.float32),
                "bf16": product_peak(torch.bfloat16),
                "copy": copy_bandwidth(),
            }
        )
    )
