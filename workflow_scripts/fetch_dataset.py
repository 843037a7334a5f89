"""Bring a dataset to its folder: download, check, unpack; a folder that exists is used as it is."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.fetch import fetch_dataset
from patchshift.data.progress import open_terminal
from patchshift.plan.data_specs import FetchSpec
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the dataset's id")
    parser.add_argument("--spec", type=FetchSpec.model_validate_json, required=True, help="fetch spec (JSON)")
    parser.add_argument("--folder", type=Path, required=True, help="where the dataset is to be")
    parser.add_argument("--receipt", type=Path, required=True, help="receipt to write (JSON)")
    parser.add_argument(
        "--progress-fd", type=int, default=3, help="descriptor for a progress bar, if it is open and a terminal"
    )
    args = parser.parse_args(argv)

    terminal = open_terminal(args.progress_fd)
    fetch_dataset(args.dataset, args.spec, args.folder, args.receipt, terminal=terminal)


if __name__ == "__main__":
    run_script(main)
