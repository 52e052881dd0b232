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

from preceptor.data.packages import cache_folder

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
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder is known
        return str(error).strip()[:200] or type(error).__name__
    return ""


@cache
def _functions(dtype: torch.dtype) -> dict[str, "ctypes._NamedFuncPointer"]:
    before = _thread_pools()
    library = ctypes.CDLL(str(_library(NUMBERS[dtype])))
    if _thread_pools() - before:
        # Its threads and PyTorch's would wait for work on the same cores, at full speed.
        raise OSError("it would bring a second pool of OpenMP threads; g++ does not")
    found = {}
    for name, arguments in _ARGUMENTS.items():
        found[name] = library[name]
        found[name].argtypes, found[name].restype = arguments, None
    return found


def _library(number: str) -> Path:
    """The compiled file: of this source, for this processor, in the user's own cache.

    Its name ends with its hash, so that one that was cut off or changed is not run.

    Raises:
        OSError: no compiler that takes the source, or nowhere to write.
    """
    source = SOURCE.read_text(encoding="utf-8")
    key = _hash("\n".join((source, *FLAGS, number, _processor())).encode())
    folder = _folder()
    for path in sorted(folder.glob(f"kernels-{number}-{key}-*.so")):
        if path.stem.endswith(_hash(path.read_bytes())):
            return path
    said = "no C++ compiler: neither CXX nor c++, g++ or clang++ in PATH"
    for compiler in filter(None, map(shutil.which, _compilers())):
        with tempfile.TemporaryDirectory(dir=folder) as inside:
            made = Path(inside) / "kernels.so"
            command = [compiler, *FLAGS, f"-DNUMBER={number}", "-o", str(made), str(SOURCE)]
            done = subprocess.run(  # noqa: S603 - a compiler of this machine, by a list
                command, check=False, capture_output=True, text=True, errors="replace"
            )
            if done.returncode or not made.is_file():
                lines = done.stderr.strip().splitlines() or [f"it ends with {done.returncode}"]
                told = next((line for line in lines if "error" in line), lines[0])
                said = f"{compiler}: {told}"
                continue
            path = folder / f"kernels-{number}-{key}-{_hash(made.read_bytes())}.so"
            made.replace(path)
            return path
    raise FileNotFoundError(said)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _compilers() -> list[str]:
    names = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return list(dict.fromkeys(name for name in names if name))


def _folder() -> Path:
    """Where only this user can write, for what lies there is run."""
    folder = cache_folder() / "kernels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{folder} is another user's, or others can write to it")
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
