"""These tests need a Slurm: `make test-slurm` starts one and says so."""

import os

collect_ignore = [] if os.environ.get("PATCHSHIFT_SLURM") else ["test_slurm.py"]
