"""What people look at: charts, cards of faces, and the one HTML file around them."""

from mien.page.chart import Bar, Chart, line_chart, percent
from mien.page.html import Card, Mark, write_html

__all__ = ["Bar", "Card", "Chart", "Mark", "line_chart", "percent", "write_html"]
