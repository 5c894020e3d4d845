"""report.html: what a run or a comparison showed, as one file that needs nothing else."""
