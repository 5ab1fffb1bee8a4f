"""Heads: one file each; the file's name is the name."""
