"""The sampling engine."""

from preceptor.generation.engine import Generated, draw, row_uniforms, sample, stream
from preceptor.generation.stops import StopStrings, stop_strings

__all__ = [
    "Generated",
    "StopStrings",
    "draw",
    "row_uniforms",
    "sample",
    "stop_strings",
    "stream",
]
