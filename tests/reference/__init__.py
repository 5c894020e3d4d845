"""The slow, obvious versions that the fast code must equal."""
