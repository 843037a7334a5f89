"""The folder that predictions are written to: a table, pictures, latencies and a summary.

    predictions.csv         one row per image, added as it is done
    heatmaps/NAME.png       the image under its anomaly map, what is ignored grey
    masks/NAME.png          where pixels or patches are at or above a threshold (`heatmaps.find_mask`)
    latency.csv             milliseconds of each image, step by step; one row per image, added as it is done
    summary.json            counts, threshold, drift, p50 and p95, SHA-256 of the model's file

NAME is the image's path below its folder, with its own suffix, so no two images share one.
Tested in tests/app/test_predict.py.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image

from patchshift.app.detector import Detector, OpenedImage, Prediction
from patchshift.app.drift import DriftMonitor
from patchshift.app.heatmaps import choose_masks, draw_heatmap, find_mask
from patchshift.app.latency import COLUMNS as STEP_COLUMNS
from patchshift.app.latency import Latencies, as_row
from patchshift.app.prediction_tables import FIRST_COLUMNS, PICTURES, TABLE, GrowingTable, read_names
from patchshift.app.watching import escape, explain_name
from patchshift.errors import UserError
from patchshift.evaluation.zones import explain_calibration
from patchshift.report.masks import MASKS
from patchshift.runtime.files import atomic_path, explain_write_failure, remove, write_json

COLUMNS = (*FIRST_COLUMNS, "zone", "probability", "probability_isotonic")
TIME = "milliseconds"
LATENCIES, SUMMARY = "latency.csv", "summary.json"


class PredictionFolder:
    """Writes predictions as they come; a context manager, after which the summary is there.

    It may be open for weeks, so of an image that is done it keeps nothing but numbers.

    Args:
        folder: where to write; files of an earlier run must have gone (`clear_folder`).
        detector: what predicts.
        images: the folder that images are named after.
        overlays: write heatmaps and masks.
        watching: see `DriftMonitor`.
        timed: write what images took; what is left is the same in every run.

    Attributes:
        done: number of images whose predictions are written.
        counted: latencies without those of the first batch, which warms up.
        mistakes: what is wrong with images that could not be used, one message each.
        warm_up: number of images of the first batch that went through the backbone; they do not count in latencies.
    """

    def __init__(
        self, folder: Path, detector: Detector, images: Path, *, overlays: bool, watching: bool, timed: bool = True
    ) -> None:
        self.folder, self.detector, self.images = folder, detector, images
        self.overlays, self.timed = overlays, timed
        calibration = detector.model.calibration
        self.drift = DriftMonitor(detector.model.normal_scores, calibration.threshold, watching=watching)
        self.counted = Latencies()
        self.mistakes: list[str] = []
        self.done = self.defective = self.warm_up = 0

    def __enter__(self) -> Self:
        with _explaining(self.folder), ExitStack() as opened:
            self.folder.mkdir(parents=True, exist_ok=True)
            columns = (*COLUMNS, TIME) if self.timed else COLUMNS
            self._rows = opened.enter_context(closing(GrowingTable(self.folder / TABLE, columns)))
            if self.timed:
                self._steps = opened.enter_context(closing(GrowingTable(self.folder / LATENCIES, STEP_COLUMNS)))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()
        write_json(self.folder / SUMMARY, self._summarise())

    def add(self, paths: Sequence[Path]) -> Iterator[Prediction]:
        """Predict a few images and write what comes out; yields what could be used, as it is written.

        Raises:
            UserError: where the folder cannot be written to.
        """
        opened = [image for path in paths if (image := self._open(path))]
        predicted = self._predict(opened)
        self.warm_up = self.warm_up or len(predicted)
        for image, prediction in predicted:
            with _explaining(self.folder):
                self._write(image, prediction)
            yield prediction

    def describe_pictures(self) -> str:
        """The folders of pictures, for the terminal, and why there are no masks."""
        if not self.overlays:
            return ""
        if choose_masks(self.detector.model):
            return ", heatmaps/, masks/"
        return ", heatmaps/ (no masks: patches have no threshold of their own here, docs/predict.md)"

    def _open(self, path: Path) -> OpenedImage | None:
        name = path.relative_to(self.images).as_posix()
        if reason := explain_name(name):
            self._refuse(name, reason)
            return None
        try:
            return self.detector.open(path, name)
        except UserError as error:
            self._refuse(name, str(error))
            return None

    def _predict(self, images: Sequence[OpenedImage]) -> list[tuple[OpenedImage, Prediction]]:
        try:
            return list(zip(images, self.detector.predict(images), strict=True))
        except UserError as error:
            if len(images) > 1:  # find out which
                return [pair for image in images for pair in self._predict([image])]
            self._refuse(images[0].name, str(error))
            return []

    def _refuse(self, name: str, reason: str) -> None:
        self.mistakes.append(escape(reason))  # it may name the folder, too
        nothing = ("",) * (len(COLUMNS) - len(FIRST_COLUMNS) + self.timed)
        self._rows.add((escape(name), "", "", "", "", escape(reason), *nothing))

    def _write(self, image: OpenedImage, prediction: Prediction) -> None:
        if self.overlays:
            mask = find_mask(self.detector.model, prediction)
            heatmap = draw_heatmap(self.detector.model, prediction, image.pixels, mask)
            self._save(heatmap, "heatmaps", image.name)
            if mask is not None:
                self._save(mask.astype(np.uint8) * 255, "masks", image.name)
        decision = "" if prediction.decision is None else int(prediction.decision)
        normalised, platt, isotonic = (
            "" if value is None else f"{value:.6g}"
            for value in (prediction.normalised_score, prediction.probability, prediction.probability_isotonic)
        )
        threshold = "" if prediction.threshold is None else prediction.threshold
        took = [f"{prediction.latency.total:.3f}"] if self.timed else []
        row = (image.name, prediction.score, normalised, threshold, decision, prediction.undefined or "")
        warm_up = self.done < self.warm_up
        if self.timed:
            self._steps.add(as_row(image.name, prediction.latency, warm_up=warm_up))
        # last: a row stands for an image of which everything is there
        self._rows.add((*row, prediction.zone, platt, isotonic, *took))
        self.done += 1
        if not warm_up:
            self.counted.add(prediction.latency)
        self.defective += bool(prediction.decision)
        self.drift.add(prediction.score)

    def _save(self, pixels: Any, kind: str, name: str) -> None:
        with atomic_path(_picture(self.folder, kind, name)) as partial:
            Image.fromarray(pixels).save(partial, format="PNG", compress_level=1)

    def _summarise(self) -> dict[str, Any]:
        calibration, model = self.detector.model.calibration, self.detector.model
        reason, zones = explain_calibration(calibration), calibration.zones
        latency = {
            "steps": self.counted.summarise(),
            "images": len(self.counted),
            "warm_up": self.warm_up,
            "batch_size": self.detector.batch_size,
        }
        return {
            "images": self.done,
            "defective": None if reason else self.defective,
            "not_used": len(self.mistakes),
            "policy": calibration.policy,
            "threshold": None if zones else calibration.threshold,
            "zones": dataclasses.asdict(zones) if zones else None,
            "pixel_threshold": calibration.pixels.threshold if calibration.pixels else None,
            "undefined": reason,
            "masks": MASKS[kind] if self.overlays and (kind := choose_masks(model)) else None,
            "drift": {
                "conclusion": self.drift.conclude(),
                "alarms": len(self.drift.alarms),
                "tests": [{**vars(test), "alarm": test.alarm} for test in self.drift.tests],
            },
            **({"latency_ms": latency} if self.timed else {}),
            "model": {
                "sha256": self.detector.digest,
                "members": list(model.bank.members),
                "inputs": model.provenance.get("inputs"),
                "calibrated_before_extension": model.calibrated_before_extension,
            },
        }


def clear_folder(folder: Path, *, overwrite: bool) -> None:
    """Make room for predictions: delete those of an earlier run, and nothing else.

    Raises:
        UserError: if they are there and may not be replaced, there is something else of their names, or it cannot be
            deleted.
    """
    with _explaining(folder):
        there = [folder / name for name in (TABLE, LATENCIES, SUMMARY, *PICTURES) if (folder / name).exists()]
        if not there:
            return
        images = read_names(folder / TABLE)
        if images is None:
            raise UserError(
                f"{there[0]} is there, and was not written by patchshift predict (no {TABLE} of its own is beside it): "
                "choose another --output"
            )
        if not overwrite:
            raise UserError(f"{there[0]} is there: choose another --output, or replace what is there with --overwrite")
        for kind in PICTURES:
            for image in images:
                _remove_below(folder / kind, _picture(folder, kind, image))
        for name in (LATENCIES, SUMMARY, TABLE):  # the table last: without it nothing can be deleted again
            remove(folder / name)


def _remove_below(root: Path, path: Path) -> None:
    """Delete a file below a folder, and the folders that are empty then; what only looks as if it were below stays."""
    if not path.resolve().is_relative_to(root.resolve()):
        return
    path.unlink(missing_ok=True)
    for above in path.parents:
        if not above.is_relative_to(root) or not above.is_dir() or any(above.iterdir()):
            return
        above.rmdir()


def _picture(folder: Path, kind: str, name: str) -> Path:
    return folder / kind / f"{name}.png"


@contextmanager
def _explaining(folder: Path) -> Iterator[None]:
    """Name the folder where the block cannot write.

    Raises:
        UserError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = f"cannot write {folder}: {error.strerror or error}: choose another --output"
        raise explain_write_failure(folder, error) or UserError(reason) from error
