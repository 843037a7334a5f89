"""Score the validation and test images of a target with a bank, or all images of a domain of synthetic defects."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.splits import read_split
from patchshift.detectors.bank import Bank
from patchshift.detectors.scores import write_scores
from patchshift.features.store import FeatureStore
from patchshift.plan.score_specs import ScoringSpec
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, required=True, help="fitted bank (HDF5)")
    parser.add_argument("--features", type=Path, required=True, help="the target's feature store (HDF5)")
    parser.add_argument("--split", type=Path, help="the target's split (CSV); without it all images are scored")
    parser.add_argument("--pack", type=Path, help="the target's pack (HDF5), where the dataset has ignore masks")
    parser.add_argument("--spec", type=ScoringSpec.model_validate_json, required=True, help="scoring spec (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--scores", type=Path, required=True, help="scores to write (HDF5)")
    args = parser.parse_args(argv)

    limit_threads(args.spec.threads)  # part of the spec: floating-point sums depend on it
    split = read_split(args.split) if args.split else None
    bank = Bank.load(args.bank)
    with FeatureStore(args.features) as features:
        selected = features.select([*split.of("val"), *split.of("test")] if split else features.images)
        ignore = None
        if args.pack:
            # not above: scores without ignore masks owe nothing to the library of images, and do not name it
            from patchshift.data.regions import read_ignored_patches

            ignore = read_ignored_patches(args.pack, selected.images, bank.representation.grid)
        scores = bank.score(selected, args.spec, ignore)
    optional = {name: path for name, path in (("split", args.split), ("pack", args.pack)) if path}
    inputs = {"bank": args.bank, "features": args.features, **optional}
    provenance = describe("score_images", version=args.stage, spec=args.spec.canonical(), inputs=inputs)
    write_scores(args.scores, scores, selected.images, selected.input_size, provenance)


if __name__ == "__main__":
    run_script(main)
