"""Draw one category of the built-in dataset, in MVTec AD layout."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.demo import generate_category
from patchshift.plan.data_specs import GeneratorSpec
from patchshift.runtime.files import atomic_directory
from patchshift.runtime.provenance import note_origin
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--category", required=True)
    parser.add_argument("--spec", type=GeneratorSpec.model_validate_json, required=True, help="generator spec (JSON)")
    parser.add_argument("--images", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    with atomic_directory(args.images) as folder:
        generate_category(args.category, folder, args.spec)
        note_origin(folder, "generate_dataset", spec=args.spec.canonical())


if __name__ == "__main__":
    run_script(main)
