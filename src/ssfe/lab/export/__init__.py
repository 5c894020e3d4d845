"""A run's shipped network in other programs' formats, each checked against the run before it is put in its place."""
