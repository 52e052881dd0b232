"""What stands between a layer's matrix products, compiled from kernels.cpp on the machine itself.

Without a compiler, or where it fails, `available` is False, and PyTorch's own operations do the
same work in more time (docs/log.md).
"""

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC"),
    # Not fast-math: what is not a number must stay so until a loss is refused for it.
    *("-fno-math-errno", "-fno-trapping-math", "-fno-exceptions", "-fno-rtti"),
)
NUMBERS = {torch.bfloat16: "bf16", torch.float32: "float"}
BLOCK = 32
"""Rows for which `add_norm_back` gives one sum of a weight's gradient, as in kernels.cpp."""
LANES = 16
"""Numbers that kernels.cpp multiplies at once; widths that `decode` is asked for are multiples."""
SWITCH = "PRECEPTOR_KERNELS"
"""Environment variable: `off` leaves the work to PyTorch, whatever compiler there is."""

_POINTER, _LONG, _FLOAT = ctypes.c_void_p, ctypes.c_long, ctypes.c_float
_ARGUMENTS: dict[str, list[Any]] = {
    "add_norm": [_POINTER] * 6 + [_LONG] * 2 + [_FLOAT],
    "add_norm_back": [_POINTER] * 8 + [_LONG] * 2,
    "add": [_POINTER] * 3 + [_LONG],
    "swiglu": [_POINTER] * 3 + [_LONG] * 4,
    "swiglu_back": [_POINTER] * 5 + [_LONG],
    "to_heads": [_POINTER] * 5 + [_LONG] * 7 + [_FLOAT],
    "from_heads": [_POINTER] * 5 + [_LONG] * 6 + [_FLOAT],
    "softmax": [_POINTER] * 2 + [_LONG] * 5,
    "softmax_back": [_POINTER] * 3 + [_LONG] * 2,
    "single_query": [_POINTER] * 5 + [_LONG] * 5,
    "word_numbers": [_POINTER] * 5 + [_LONG] * 2,
    "decode": [_POINTER, _LONG] + [_POINTER] * 5,
}


class LayerPointers(ctypes.Structure):
    """`Layer` of kernels.cpp."""

    _fields_ = [
        (name, _POINTER)
        for name in (
            *("norm", "norm_after", "into", "out", "gate_up", "down", "bias", "keys", "values"),
        )
    ]


class LayerSizes(ctypes.Structure):
    """`Sizes` of kernels.cpp."""

    _fields_ = [
        (name, _LONG)
        for name in ("batch", "width", "heads", "groups", "head_width", "inner", "room", "place")
    ] + [("eps", _FLOAT), ("scale", _FLOAT)]


def call(name: str, dtype: torch.dtype, *arguments: Tensor | float | None) -> None:
    """Run a function of kernels.cpp, compiled for this precision; tensors go by their address.

    Nothing is checked: shapes, precisions and that tensors are contiguous are the caller's concern.
    """
    addressed = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    _functions(dtype)[name](*addressed)


def decode(
    dtype: torch.dtype,
    layers: "ctypes.Array[LayerPointers]",
    sizes: LayerSizes,
    *tensors: Tensor,
) -> None:
    """One more position of each row through all layers; states, cosines, sines and starts."""
    call(
        *("decode", dtype, ctypes.addressof(layers), len(layers), ctypes.addressof(sizes)), *tensors
    )


def available() -> bool:
    """Whether kernels are there; the first time anybody asks they are compiled, for 2 s."""
    return not missing()


@cache
def missing() -> str:
    """Why there are no kernels, or nothing if there are."""
    if os.environ.get(SWITCH) == "off":
        return f"{SWITCH} is off"
    try:
        for dtype in NUMBERS:
            _functions(dtype)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        return next((line for line in said if "error" in line), said[0])[:200]
    return ""


@cache
def _functions(dtype: torch.dtype) -> dict[str, "ctypes._NamedFuncPointer"]:
    before = _thread_pools()
    library = ctypes.CDLL(str(_library(NUMBERS[dtype])))
    if _thread_pools() - before:
        # Its threads and PyTorch's would wait for work on the same cores, at full speed.
        raise OSError("it would bring a second pool of OpenMP threads")
    found = {}
    for name, arguments in _ARGUMENTS.items():
        found[name] = library[name]
        found[name].argtypes, found[name].restype = arguments, None
    return found


def _library(number: str) -> Path:
    """The compiled file: of this source, for this processor, in the user's own cache.

    Raises:
        OSError: no compiler, or nowhere to write.
        subprocess.SubprocessError: it refuses the source.
    """
    compiler = next(filter(None, map(shutil.which, _compilers())), None)
    if compiler is None:
        raise FileNotFoundError("no C++ compiler: neither CXX nor c++, g++ or clang++ in PATH")
    parts = (SOURCE.read_text(encoding="utf-8"), *FLAGS, compiler, number, _processor())
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    path = _folder() / f"kernels-{number}-{key}.so"
    if not path.is_file():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [compiler, *FLAGS, f"-DNUMBER={number}", "-o", str(made), str(SOURCE)]
            subprocess.run(  # noqa: S603 - a compiler of this machine, by a list
                command, check=True, capture_output=True, text=True, timeout=120
            )
            made.replace(path)
    return path


def _compilers() -> list[str]:
    return [os.environ.get("CXX") or "c++", "c++", "g++", "clang++"]


def _folder() -> Path:
    """Where only this user can write, for what lies there is run."""
    cache_folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache_folder) / "preceptor"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"others can write to {folder}: make it yours alone, chmod 700")
    return folder


def _processor() -> str:
    """What `-march=native` looks at, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    told = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(told)}))


def _thread_pools() -> set[str]:
    """The OpenMP libraries that this process has loaded."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    paths = {line.split(maxsplit=5)[-1] for line in lines}
    names = ("libgomp", "libomp", "libiomp")
    return {path for path in paths if path.rsplit("/", 1)[-1].startswith(names)}
