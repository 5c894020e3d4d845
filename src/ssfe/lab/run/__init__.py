"""Whole runs: what ``ssfe train``, ``ssfe evaluate`` and ``ssfe predict`` do, and the run folder between them."""
