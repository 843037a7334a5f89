"""A made-up study that is scored at home, in shifted domains, on other categories and another dataset, with all tables
of its robustness; written once for all tests."""

import csv
import functools
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from patchshift.evaluation.evaluate import decide_target
from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.statistics import bootstrap_image_ranking, percentile_interval
from patchshift.evaluation.thresholds import calibrate
from patchshift.evaluation.undefined import Interval, Undefined, estimate, undefined
from patchshift.plan.cells import Cell
from patchshift.plan.inspections import pair_domains
from patchshift.report.analyses.cross_shift import cross_shift_table
from patchshift.report.analyses.distance_effects import DISTANCES, distance_effects_table
from patchshift.report.analyses.feature_robustness import feature_robustness_table
from patchshift.report.analyses.robustness import robustness_table
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.transfer import transfer_table
from patchshift.report.tables import predictions, tidy_metrics
from patchshift.runtime.files import write_json, write_text
from tests.report.conftest import SPEC, MadeStudy

EXPERIMENTS: dict[str, object] = {
    "clean": {"title": "", "train": ["d"]},
    "shifted": {"title": "", "train": ["d"], "target_domains": ["dark", "dim"]},
    "recalibrated": {"title": "", "train": ["d"], "target_domains": ["dark"], "calibrate_on": "target"},
    "adapted": {"title": "", "train": ["d"], "train_domains": ["dark"]},
    "crossed": {"title": "", "train": ["d"], "train_domains": ["dark"], "target_domains": ["clean", "dim"]},
    "matrix": {"title": "", "train": ["d"], "targets": ["d", "e"]},
    "pool": {"title": "", "train": ["pools/all"], "target_domains": ["dark"]},
}
REPRESENTATIONS: dict[str, object] = {
    "sharp": {"fusion": "concat"},
    "blunt": {"layers": ["coarse"], "fusion": "single"},
}
DRIFTS = {("fine", "single"): 2.0, ("coarse", "single"): 0.5, ("fine coarse", "concat"): 1.0}
"""Layers and fusion -> drift, in multiples of the domain's distance."""
IMAGES = 12  # of each label, in test and in validation
AWAY = {"dark": 0.4, "dim": 0.1}


class WideStudy(MadeStudy):
    """Only what its tables are made from: no images, no maps, and image scores in place of what a detector would give.

    Defective images score `gap` higher, less so away from home, where all score higher and thresholds no longer fit.
    The test images of the categories in `one_class` (`dataset/category`) are all normal.
    """

    one_class: tuple[str, ...] = ()

    @property
    def data(self) -> StudyData:
        """Its detectors have a representation each, `sharp` of all layers and `blunt` of one."""
        data = super().data
        detectors = {name: {**data.detectors[name], "representation": REPRESENTATIONS[name]} for name in data.detectors}
        return replace(data, detectors=detectors)

    def write(self) -> None:
        for cell in self.cells():
            self._write_cell(cell)
        write_text(self.folder / "metrics.csv", tidy_metrics(self.cells()).to_csv(index=False))
        write_text(self.folder / "predictions.csv", predictions(self.cells()).to_csv(index=False))

    def _write_cell(self, cell: Cell) -> None:
        # what is asked for once in several domains is drawn alike, as the same images under another light would be
        number = zlib.crc32(f"{cell.bank.detector}{cell.target.dataset}{cell.target.category}".encode())
        generator = np.random.default_rng(number)
        labels, test = np.tile([0, 1], 2 * IMAGES), np.arange(4 * IMAGES) < 2 * IMAGES
        away = {"clean": 0.0, "dim": 0.3, "dark": 1.0}[cell.target.domain] * (cell.bank.training.domain == "clean")
        foreign = cell.bank.training.category not in (cell.target.category, "all")
        gap = (4.0 if cell.bank.detector == "sharp" else 2.0) * (1 - 0.6 * away) * (0.1 if foreign else 1.0)
        scores = generator.normal(0, 1, len(labels)) + gap * labels + 5 * away
        reference = scores[~test] - (5 * away if cell.calibration != cell.target else 0)
        calibration = calibrate("f1_max", reference, labels[~test])
        if f"{cell.target.dataset}/{cell.target.category}" in self.one_class:
            labels = np.where(test, 0, labels)
        try:
            auroc = estimate(image_auroc(labels[test], scores[test]), self._interval(labels[test], scores[test]))
        except Undefined as error:
            auroc = undefined(str(error))
        pixels = undefined("no map") if cell.target.dataset == "e" else estimate(0.9 - 0.2 * away, (0.5, 0.95))
        counts = {"normal": int((labels[test] == 0).sum()), "anomalous": int(labels[test].sum())}
        metrics = {"image_auroc": auroc, "pixel_auroc": pixels}
        write_json(Path(cell.metrics), {"metrics": metrics, "counts": counts, "facts": {}})
        images = [
            {"image": f"{place}.png", "label": int(label), "defect": "hole" if label else "", "relabelled": 0,
             "score": float(score), "decision": int(score >= calibration.threshold)}
            for place, (label, score) in enumerate(zip(labels[test], scores[test], strict=True))
        ]  # fmt: skip
        decided = decide_target(labels[test], scores[test], calibration, SPEC)
        write_json(Path(cell.decisions), {**decided, "threshold": calibration.threshold, "images": images})

    @staticmethod
    def _interval(labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> Interval:
        drawn = bootstrap_image_ranking(labels == 1, scores, resamples=50, seed=0)["image_auroc"]
        return percentile_interval(drawn, 0.95)


@functools.cache
def write_wide(folder: Path) -> MadeStudy:
    """Write it to a folder and make its tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = WideStudy(camera=True, **EXPERIMENTS)
        study.write()
        write_distances(study.data)
        write_robustness(study.data)
    return study


def open_wide(factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> StudyData:
    """Its data, in its working folder; not to be written to."""
    folder = factory.getbasetemp() / "wide"
    folder.mkdir(exist_ok=True)
    study = write_wide(folder)
    patch.chdir(folder)
    return study.data


def write_distances(data: StudyData) -> None:
    """Distances and drifts that grow with the domain, and are large between categories."""
    rows, drifts = [], []
    for pair in pair_domains(data.plan, ["net"]):
        far = AWAY.get(pair.target.domain, 0.0) + AWAY.get(pair.training.domain, 0.0)
        if pair.training.category not in (pair.target.category, "all"):
            far += 1.0
        keys = {
            f"{role}_{part}": getattr(place, part)
            for role, place in (("train", pair.training), ("target", pair.target))
            for part in ("dataset", "category", "domain")
        }
        keys |= {"at_home": int(pair.at_home), "split": pair.split, "backbone": "net", "weights": "net"}
        for number, name in enumerate(DISTANCES):
            rows.append({**keys, "distance": name, **_estimate(0.01 if pair.at_home else far * (number + 1))})
        for (layers, fusion), factor in DRIFTS.items():
            estimate = _estimate((0.01 if pair.at_home else far) * factor)
            drifts.append({**keys, "layers": layers, "fusion": fusion, **estimate})
    _write_rows(data.folder / "distances.csv", rows)
    _write_rows(data.folder / "feature_drifts.csv", drifts)


def _estimate(value: float) -> dict[str, float | str]:
    return {"value": value, "low": value * 0.9, "high": value * 1.1, "undefined": ""}


def _write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_robustness(data: StudyData) -> None:
    """The tables of a study's robustness, as the workflow writes them."""
    for name, table in (
        ("robustness", robustness_table),
        ("cross_shift", cross_shift_table),
        ("distance_effects", distance_effects_table),
        ("feature_robustness", feature_robustness_table),
    ):
        write_text(data.folder / f"{name}.csv", table(data).to_csv(index=False))
    for experiment in data.results.cells:
        table = transfer_table(data, experiment)
        write_text(data.experiment_folder(experiment) / "transfer.csv", table.to_csv(index=False))
