"""The sampling engine."""

from preceptor.generation.engine import Generated, draw, row_uniforms, sample, stream

__all__ = ["Generated", "draw", "row_uniforms", "sample", "stream"]
