"""Comparing methods: many runs of the same data and networks, side by side, and what they say together."""
