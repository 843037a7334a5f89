"""Score and decide the images of a folder with an exported model."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.app.detector import Detector
from patchshift.app.latency import describe_latencies
from patchshift.app.predictions import PredictionFolder
from patchshift.app.watching import list_images
from patchshift.data.images import raise_all
from patchshift.runtime.files import atomic_directory
from patchshift.runtime.script import run_script
from patchshift.runtime.seeds import set_seed
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="exported model (HDF5)")
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--weights-dir", type=Path, default=Path("weights"), help="folder of weight files")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--predictions", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    set_seed(0)
    paths = list_images(args.images)
    detector = Detector.load(args.model, weights_dir=args.weights_dir, device=args.device)
    limit_threads(detector.model.scoring.threads)  # as scores were made, whatever cores there are
    with atomic_directory(args.predictions) as partial:
        options = {"overlays": True, "watching": False, "timed": False}  # artifacts carry no times
        with PredictionFolder(partial, detector, args.images, **options) as folder:
            for path in paths:
                list(folder.add([path]))
        raise_all(folder.mistakes)  # a rule's artifact is whole, or it is not there
    print(folder.drift.conclude())
    print(describe_latencies(folder.counted, left_out=folder.warm_up))


if __name__ == "__main__":
    run_script(main)
