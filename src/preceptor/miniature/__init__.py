"""A small made-up world in which we know what is true, and so how good a response is."""

from preceptor.miniature.source import make_miniature, miniature_judge

__all__ = ["make_miniature", "miniature_judge"]
