"""Pass all images of one or several domains through a backbone and keep the raw layer maps."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.index import read_index
from patchshift.features.extraction import Extractor
from patchshift.plan.backbone_specs import BACKBONE
from patchshift.runtime.files import digest_file
from patchshift.runtime.memory import keep_freed_memory
from patchshift.runtime.script import run_script
from patchshift.runtime.seeds import set_seed
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, nargs="+", required=True, help="image indexes (CSV)")
    parser.add_argument("--root", type=Path, nargs="+", required=True, help="folder that each index is relative to")
    parser.add_argument("--weights-dir", type=Path, help="folder of weight files, for backbones that have them")
    parser.add_argument("--spec", type=BACKBONE.validate_json, required=True, help="backbone spec (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--features", type=Path, nargs="+", required=True, help="feature store of each index (HDF5)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=2, help="batches computed at a time on a CPU")
    parser.add_argument("--num-workers", type=int, help="processes that decode images; default: depends on the device")
    args = parser.parse_args(argv)
    if not len(args.index) == len(args.root) == len(args.features):
        parser.error("--index, --root and --features must name equally many")

    keep_freed_memory()
    limit_threads(args.threads)
    set_seed(0)  # whatever draws, and algorithms on CUDA that would differ from run to run
    spec = args.spec.model_copy(update={"threads": args.threads})
    extractor = Extractor(spec, weights_dir=args.weights_dir, device=args.device, num_workers=args.num_workers)
    described = extractor.describe(args.stage)  # once for all targets: weight files are large
    for index, root, features in zip(args.index, args.root, args.features, strict=True):
        rows, inputs = read_index(index), described["inputs"] | {"index": digest_file(index)}
        extractor.extract(
            {row.key: root / row.image for row in rows},
            features,
            digests={row.key: row.digest for row in rows},
            provenance=described | {"inputs": inputs},
        )


if __name__ == "__main__":
    run_script(main)
