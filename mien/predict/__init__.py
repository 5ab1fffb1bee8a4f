"""A model to predictions, without torch."""
