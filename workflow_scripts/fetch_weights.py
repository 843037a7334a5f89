"""Bring a weight file to its place: download and check it; a file that exists is used as it is."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.fetch_weights import fetch_weights
from patchshift.data.progress import open_terminal
from patchshift.plan.backbone_specs import WeightsSpec
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=WeightsSpec.model_validate_json, required=True, help="weights spec (JSON)")
    parser.add_argument("--weights-dir", type=Path, required=True, help="folder of weight files")
    parser.add_argument("--receipt", type=Path, required=True, help="receipt to write (JSON)")
    parser.add_argument(
        "--progress-fd", type=int, default=3, help="descriptor for a progress bar, if it is open and a terminal"
    )
    args = parser.parse_args(argv)

    terminal = open_terminal(args.progress_fd)
    fetch_weights(args.spec, args.weights_dir, args.receipt, terminal=terminal)


if __name__ == "__main__":
    run_script(main)
