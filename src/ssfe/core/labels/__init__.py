"""Joint labels: targets, logits, loss, readings, and the fold, as arithmetic that knows no network."""
