"""Partial-label objectives, one file each."""
