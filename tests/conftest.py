from __future__ import annotations

import signal

import pytest
import torch
from hypothesis import settings

# The same examples on every machine and in every run, and no folder of failed ones.
settings.register_profile("ssfe", deadline=None, derandomize=True, database=None, max_examples=150)
settings.load_profile("ssfe")

# Small tensors gain nothing from threads, and on a busy machine they lose a factor of fifty waiting for each other.
torch.set_num_threads(1)

# Ctrl-C reaches the tests that are about it, though background jobs and pytest-xdist's workers start with it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)
