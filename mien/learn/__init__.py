"""Rows to a model: the only room that imports torch."""
