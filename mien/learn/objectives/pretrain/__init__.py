"""Masked pre-training objectives, one file each."""
