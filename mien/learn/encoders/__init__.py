"""Encoders: one file each; the file's name is the name. Any other name is timm's."""
