"""What ssfe works with: a table of settings, run by tests/test_battery.py, written out by `python -m tests.battery`."""
