"""HTTP: photos come in, predictions and a page for people go out; nothing is kept."""
