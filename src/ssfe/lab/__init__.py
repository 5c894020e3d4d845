"""Experiments: data, networks, methods, training, evaluation and run folders. What the command ``ssfe`` is made of."""
