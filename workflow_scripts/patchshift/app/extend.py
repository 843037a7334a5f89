"""Let an exported model learn from images of new good products, without fitting it again.

What is added, and what stays: `detectors.extension` and docs/detectors.md. Tested in tests/app/test_extend.py.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchshift.app.arguments import read_count, read_share
from patchshift.app.watching import explain_name, list_images
from patchshift.data.images import raise_all
from patchshift.errors import UserError
from patchshift.plan.base import canonical_json
from patchshift.runtime.files import digest_bytes, digest_file, explain_write_failure
from patchshift.runtime.provenance import describe
from patchshift.runtime.threads import limit_threads

if TYPE_CHECKING:
    from patchshift.app.models import ExportedModel
    from patchshift.detectors.extension import Extension
    from patchshift.features.store import FeatureRows

VERSION = "1"  # of what is computed here, for provenance
NAMED = 5  # images that a message names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", type=Path, required=True, help="the exported model; it is left as it is")
    parser.add_argument(
        "--images", type=Path, required=True, help="folder with images of good products, with its sub-folders"
    )
    parser.add_argument("--output", type=Path, required=True, help="the new model to write; nothing is replaced")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--share", type=read_share, help="share of the new patches to add; default: as many as it needs")
    sizes.add_argument("--count", type=read_count, help="number of new patches to add")
    parser.add_argument("--category", help="category of the images, for a model of several: dataset/category")
    parser.add_argument("--weights-dir", type=Path, default=Path("weights"), help="folder of weight files")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")


def run(args: argparse.Namespace) -> None:
    """Write the new model, and say what it has learnt and what is still that of the old one.

    Raises:
        UserError: if the model cannot be extended, images cannot be used, the weight file is another one, or the output
            is there or cannot be written.
    """
    # seconds that --help need not take
    from patchshift.app.models import ExportedModel
    from patchshift.detectors.extension import check_extendable, extend_bank
    from patchshift.features.store import FeatureStore

    if args.output.exists():
        raise UserError(f"{args.output} is there, and is left as it is: give --output the name of a new file")
    images = name_images(args.images)
    model = ExportedModel.load(args.model)
    check_extendable(model.bank)
    limit_threads(model.bank.spec.threads)  # as for its fit
    try:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".extend-")
    except OSError as error:
        raise explain_write_failure(args.output, error) or error from error
    print(f"{len(images)} images of {args.images}")
    with temporary as folder:
        store = Path(folder) / "features.h5"
        extract(args.model, model, images, store, weights_dir=args.weights_dir, device=args.device)
        with FeatureStore(store) as opened:
            features = opened.select(list(images))
            _warn_of_defective(model, features)
            extension = extend_bank(
                model.bank,
                features,
                share=args.share,
                count=args.count,
                member=args.category,
                seed=model.provenance["bank"].get("seed", 0),
            )
    if extension.added:
        wanted = {"share": args.share, "count": args.count, "category": args.category}
        step = describe_step(args.model, images, wanted, extension)
        model = dataclasses.replace(
            model,
            bank=extension.bank,
            provenance={
                **model.provenance,
                "calibrated_before_extension": True,
                "extensions": [*model.provenance.get("extensions", []), step],
            },
        )
    model.save(args.output)
    print("\n".join(_report(extension, args.output)))


def name_images(folder: Path) -> dict[str, Path]:
    """The images that `list_images` finds in a folder: name relative to it -> file, in the order of the names.

    Raises:
        UserError: if there is no such folder, no image in it, or one whose name no table can hold.
    """
    found = {path.relative_to(folder).as_posix(): path for path in list_images(folder)}
    raise_all([reason for name in found if (reason := explain_name(name))])
    return dict(sorted(found.items()))


def extract(
    path: Path,
    model: "ExportedModel",
    images: Mapping[str, Path],
    store: Path,
    *,
    weights_dir: Path,
    device: str,
) -> None:
    """Write the feature store of new images, as the workflow would: in batches of the backbone's own size.

    Args:
        path: the model's file.
        model: the model.
        images: name -> file.
        store: file to write; images of a view are written beside it.
        weights_dir: folder of weight files.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: if images cannot be read, or the weight file is missing or not the model's.
    """
    from PIL import Image

    from patchshift.app.detector import Detector
    from patchshift.data.images import map_files, read_image
    from patchshift.data.shifts.views import cut_view
    from patchshift.features.extraction import Extractor

    Detector.load(path, weights_dir=weights_dir, device=device)  # compares the weights with those of the bank
    view = model.view
    if view is not None:

        def cut(item: tuple[int, tuple[str, Path]]) -> tuple[str, Path]:
            number, (name, file) = item
            written = store.with_name(f"{number}.png")
            Image.fromarray(cut_view(read_image(file), [], view)[0]).save(written)
            return name, written

        images = dict(map_files(cut, enumerate(images.items())))
    extractor = Extractor(model.backbone, weights_dir=weights_dir, device=device)
    extractor.extract(images, store, provenance=extractor.provenance)


def describe_step(
    model: Path, images: Mapping[str, Path], wanted: Mapping[str, Any], extension: "Extension"
) -> dict[str, Any]:
    """What the new model says of how it was extended: JSON-ready, without times or absolute paths.

    Args:
        model: the old model's file.
        images: name -> file of the new images; one digest stands for all their names and contents.
        wanted: what was asked for.
        extension: what came of it.
    """
    listing = "".join(f"{digest_file(path)} {name}\n" for name, path in images.items())
    step = describe("extend", version=VERSION, spec=canonical_json(wanted), inputs={"model": model})
    step["inputs"]["images"] = digest_bytes(listing.encode())
    return step | {"images": len(images), "vectors_added": extension.added}


def _warn_of_defective(model: "ExportedModel", features: "FeatureRows") -> None:
    """Name the images that the old model calls defective, as `predict` does: what is learnt is never found again."""
    import numpy as np

    from patchshift.app.calibrations import judge_images
    from patchshift.evaluation.zones import explain_calibration

    if explain_calibration(model.calibration):
        return  # nothing is called anything
    ignore = None if model.ignore is None else np.broadcast_to(model.ignore, (len(features), *model.ignore.shape))
    scores = model.bank.score(features, model.scoring, ignore)
    verdicts = judge_images(model.calibration, scores.image_scores, scores.maps, ignore)
    ranked = np.argsort(-scores.image_scores, kind="stable")
    called = [features.images[row] for row in ranked if verdicts[row].decision]
    if called:
        more = f" and {len(called) - NAMED} more" if len(called) > NAMED else ""
        print(
            f"warning: the old model calls {len(called)} of {len(features)} images defective, the highest score first: "
            f"{', '.join(called[:NAMED])}{more}. A defect that is learnt here is not found any more: make sure that "
            "all of them show good products"
        )


def _report(extension: "Extension", output: Path) -> Sequence[str]:
    covered = (
        f"{extension.beyond:,} of {extension.patches:,} new patches lay outside of what the bank covers "
        f"(farthest {extension.farthest:.4g})"
    )
    if not extension.added:
        return [covered, f"Nothing was added. Wrote {output}, which is the same model"]
    old, new = extension.bank.model.size - extension.added, extension.bank.model.size
    return [
        covered,
        f"{extension.added:,} were added to {old:,} vectors: {new:,}; now the farthest is at {extension.left:.4g}",
        f"Wrote {output}",
        "",
        "The threshold and the scores of normal validation images are still those of the old bank. Distances can only",
        "have fallen, so the new model calls fewer images defective than was meant: recalibrate. For that, put the new",
        "images into the dataset, and let the workflow fit, calibrate and export again (docs/detectors.md).",
    ]
