"""Read the scores of another method for the validation and test images of a target, in place of a bank's."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.index import read_index
from patchshift.data.splits import read_split
from patchshift.detectors.external import read_external
from patchshift.detectors.scores import write_scores
from patchshift.plan.detector_specs import ExternalSpec
from patchshift.runtime.files import digest_bytes, digest_file
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="scores (CSV: image, score, and map if any)")
    parser.add_argument("--index", type=Path, required=True, help="index of the target's images (CSV)")
    parser.add_argument("--root", type=Path, required=True, help="folder that its paths are relative to")
    parser.add_argument("--split", type=Path, help="the target's split (CSV); without it all images have scores")
    parser.add_argument("--spec", type=ExternalSpec.model_validate_json, required=True, help="detector spec (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--scores", type=Path, required=True, help="scores to write (HDF5)")
    args = parser.parse_args(argv)

    rows = read_index(args.index)
    split = read_split(args.split) if args.split else None
    wanted = [*split.of("val"), *split.of("test")] if split else [row.key for row in rows]
    external = read_external(args.table, rows, args.root, wanted)
    inputs = {"table": args.table, "index": args.index} | ({"split": args.split} if args.split else {})
    # one digest for all maps: there is one for each image
    maps = digest_bytes("\n".join(map(digest_file, external.map_files)).encode()) if external.map_files else None
    spec = args.spec.canonical(exclude={"weights"})
    provenance = describe("import_scores", version=args.stage, spec=spec, inputs=inputs, maps=maps)
    write_scores(args.scores, external.scores, external.images, external.input_size, provenance)


if __name__ == "__main__":
    run_script(main)
