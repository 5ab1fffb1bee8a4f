"""PREDICTIONS → NUMBERS: metrics with intervals, a report and its page; needs no model."""

from mien.evaluate.number import Number
from mien.evaluate.page import write_page
from mien.evaluate.report import Report, evaluate

__all__ = ["Number", "Report", "evaluate", "write_page"]
