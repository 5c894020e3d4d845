"""The training engine: Lightning's Trainer over our data order, optimization, checkpoints and log."""
