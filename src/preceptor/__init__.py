"""Preceptor: from a model that continues text to one that does what people ask."""

__version__ = "0.6.0"
