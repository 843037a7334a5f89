"""Pass a range of a domain's images through a backbone: one of several jobs that share them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.index import read_index
from patchshift.features.extraction import Extractor
from patchshift.features.shards import Shard
from patchshift.plan.backbone_specs import BACKBONE
from patchshift.runtime.files import digest_file
from patchshift.runtime.memory import keep_freed_memory
from patchshift.runtime.script import run_script
from patchshift.runtime.seeds import set_seed
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="image index (CSV)")
    parser.add_argument("--root", type=Path, required=True, help="folder that the index is relative to")
    parser.add_argument("--weights-dir", type=Path, help="folder of weight files, for backbones that have them")
    parser.add_argument("--spec", type=BACKBONE.validate_json, required=True, help="backbone spec (JSON)")
    parser.add_argument("--shard", type=int, required=True, help="which shard, from 1")
    parser.add_argument("--shards", type=int, required=True, help="how many there are")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--whole-stage", required=True, help="stage version of extract_features")
    parser.add_argument("--features", type=Path, required=True, help="shard to write (HDF5)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=2, help="batches computed at a time on a CPU")
    parser.add_argument("--num-workers", type=int, help="processes that decode images; default: depends on the device")
    args = parser.parse_args(argv)

    keep_freed_memory()
    limit_threads(args.threads)
    set_seed(0)  # as extract_features does
    shard = Shard(args.shard, args.shards, args.stage)
    spec = args.spec.model_copy(update={"threads": args.threads})
    extractor = Extractor(spec, weights_dir=args.weights_dir, device=args.device, num_workers=args.num_workers)
    described = extractor.describe(args.whole_stage)
    rows = read_index(args.index)
    own = rows[shard.images(len(rows), spec.batch_size)]
    extractor.extract(
        {row.key: args.root / row.image for row in own},
        args.features,
        digests={row.key: row.digest for row in own},
        provenance=described | {"inputs": described["inputs"] | {"index": digest_file(args.index)}},
        shard=shard,
    )


if __name__ == "__main__":
    run_script(main)
