"""The measurements of benchmarks.cost, one file each, and the docs that come of them."""
