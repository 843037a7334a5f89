"""Score and decide new images with an exported model.

Tested in tests/app/test_predict.py; docs/predict.md says more.
"""

import argparse
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from patchshift.app.arguments import read_count
from patchshift.app.watching import POLL_SECONDS, check_folder, list_images, watch_folder
from patchshift.data.images import raise_all
from patchshift.errors import UserError
from patchshift.runtime.seeds import set_seed
from patchshift.runtime.threads import limit_threads

if TYPE_CHECKING:
    from patchshift.app.detector import Prediction
    from patchshift.app.predictions import PredictionFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", type=Path, required=True, help="exported model, from rule export_model")
    parser.add_argument("--images", type=Path, required=True, help="folder of images; folders below it count, too")
    parser.add_argument(
        "--weights-dir", type=Path, default=Path("weights"), help="folder of weight files (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("predictions"), help="folder to write; default: %(default)s"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace predictions that are there")
    parser.add_argument("--watch", action="store_true", help="go on as the folder fills, until Ctrl-C or SIGTERM")
    parser.add_argument(
        "--batch-size", type=read_count, default=1, help="images per forward pass; 1, the default: as on a line"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=read_count, help="numerical threads; default: as the model was scored with")
    parser.add_argument(
        "--no-overlays",
        action="store_true",
        help="write neither heatmaps nor masks. Masks mark the pixels at or above the model's threshold of pixels; "
        "without one, the patches at or above the threshold of their zone or image. There are none where patches have "
        "no threshold: the image score is another than the largest patch score",
    )


def run(args: argparse.Namespace) -> None:
    """Write predictions, and say what they are.

    Raises:
        UserError: if the model or its weight file cannot be used, there is nothing to do, the output cannot be
            written, or, after all others are done, naming the images that cannot be used.
    """
    # seconds that --help need not take
    from patchshift.app.detector import Detector
    from patchshift.app.predictions import PredictionFolder, clear_folder

    check_folder(args.images)
    if args.images.resolve() == args.output.resolve():
        raise UserError(f"--output and --images are both {args.output}: write the predictions elsewhere")
    set_seed(0)
    options = {"weights_dir": args.weights_dir, "device": args.device, "batch_size": args.batch_size}
    detector = Detector.load(args.model, **options)
    limit_threads(args.threads or detector.model.scoring.threads)
    paths = [] if args.watch else list_images(args.images, without=args.output)
    clear_folder(args.output, overwrite=args.overwrite)
    waiting = watch_folder(args.images, without=args.output) if args.watch else [paths]
    interrupted = False
    options = {"overlays": not args.no_overlays, "watching": args.watch}
    with _interrupt_on_sigterm(), PredictionFolder(args.output, detector, args.images, **options) as folder:
        if args.watch:
            print(f"watching {args.images} every {POLL_SECONDS:g} s: Ctrl-C ends it", flush=True)
        try:
            predict(folder, waiting)
        except KeyboardInterrupt:
            interrupted = True
    _conclude(folder)
    if interrupted and not args.watch:
        raise UserError(f"interrupted after {folder.done} of {len(paths)} images: they are in {args.output}")
    raise_all(folder.mistakes)


def predict(folder: "PredictionFolder", waiting: Iterable[Sequence[Path]]) -> None:
    """Predict what comes, batch by batch, with a line on the terminal for each image."""
    for paths in waiting:
        for batch in _cut(paths, folder.detector.batch_size):
            refused, alarms = len(folder.mistakes), len(folder.drift.alarms)
            for prediction in folder.add(batch):
                print(_describe(prediction), flush=True)
            for mistake in folder.mistakes[refused:]:
                print(f"cannot be used: {mistake}", flush=True)
            for alarm in folder.drift.alarms[alarms:]:
                print(alarm.describe(), flush=True)


@contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """Let SIGTERM, by which services are stopped, end the block as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _conclude(folder: "PredictionFolder") -> None:
    from patchshift.app.latency import describe_latencies
    from patchshift.evaluation.zones import explain_calibration

    calibration = folder.detector.model.calibration
    zones = calibration.zones
    if reason := explain_calibration(calibration):
        decided = f"not decided: the model has no threshold ({reason})"
    elif zones:
        decided = f"{folder.defective} called defective by {zones.rows} x {zones.columns} zones ({calibration.policy})"
    else:
        decided = f"{folder.defective} called defective at threshold {calibration.threshold:.6g} ({calibration.policy})"
    print(f"\n{folder.done} images, {decided}")
    print(folder.drift.conclude())
    print(describe_latencies(folder.counted, left_out=folder.warm_up))
    print(f"Wrote {folder.folder}: predictions.csv, latency.csv, summary.json" + folder.describe_pictures())


def _describe(prediction: "Prediction") -> str:
    word = {True: "DEFECTIVE", False: "normal", None: "undecided"}[prediction.decision]
    zone = f"  {prediction.zone}" if prediction.zone else ""
    return f"{word:9}  score {prediction.score:.5g}  {prediction.latency.total:.0f} ms  {prediction.image}{zone}"


def _cut(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]
