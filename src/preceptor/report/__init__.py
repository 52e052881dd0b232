"""A run folder becomes one HTML page; results.json is held to its schema."""

from preceptor.report.report import write_report
from preceptor.report.schema import validate_results

__all__ = ["validate_results", "write_report"]
