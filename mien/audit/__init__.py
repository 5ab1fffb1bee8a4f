"""WHICH LABELS ARE DOUBTFUL: scores of labels, annotators, and how few votes are enough; nothing here trains."""
