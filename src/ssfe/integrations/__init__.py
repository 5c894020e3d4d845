"""Fronts to other people's training loops: each imports its framework, so import the one you use."""
