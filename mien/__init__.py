"""mien: perceived facial expressions, learned from ambiguous crowd annotations."""

__version__ = "0.1.0"
