import dataclasses
import json
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from patchshift.data.card import CategoryFiles, DataCard, write_card
from patchshift.data.card_measures import measure_category
from patchshift.data.index import ImageRow, add_digests, write_index
from patchshift.data.packs import write_pack
from patchshift.data.splits import Split, write_split
from patchshift.detectors.scores import Scores, write_scores
from patchshift.evaluation.calibrated import LogOdds
from patchshift.evaluation.decisions import decide_images
from patchshift.evaluation.evaluate import evaluate_target
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.thresholds import calibrate
from patchshift.plan.cells import POOLS, Cell, Target
from patchshift.plan.domain_specs import DomainSpec
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.score_specs import ScoringSpec
from patchshift.plan.specs import AnalysisSpec, EvaluationSpec
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.tables import EXPERIMENT_TABLES, STUDY_TABLES
from patchshift.report.costs import experiment_costs
from patchshift.report.page import render_report
from patchshift.report.plots.registry import EXPERIMENT_PLOTS, save_plots
from patchshift.report.results import StudyResults
from patchshift.report.tables import experiment_results, predictions, text_table, tidy_metrics
from patchshift.report.timings import timings
from patchshift.runtime.files import write_json, write_text

SPEC = EvaluationSpec(bootstrap_resamples=100, smoothing_sigma=1.0)
NASTY = "<script>alert('defect')</script>"
SIZE = 24
WRITTEN: dict[Hashable, list[bytes]] = {}
"""Cell, and what else its files depend on -> their content."""


class MadeStudy:
    """A study whose images, scores and tables a test writes itself, in the working folder.

    Two categories with 6 good and 6 defective test images each, half as many validation images. Detector `sharp` tells
    them apart in domain, `blunt` hardly; the dark domain raises all scores of banks that were fitted on clean images.
    `gone` test defects of each category are not to be seen in it; with `ignore`, a corner of all images is ignored.
    With `camera`, dataset e holds other images of the same products under the same names, to which alias `camera_b` of
    d leads; banks of d give all of them scores as high as those of the dark domain.
    """

    def __init__(
        self,
        *,
        detectors: tuple[str, ...] = ("blunt", "sharp"),
        validation: bool = True,
        gone: int = 0,
        ignore: bool = False,
        camera: bool = False,
        weights: str = "net.safetensors",
        **experiments: object,
    ):
        self.validation = validation
        self.gone = gone
        self.ignore = ignore
        plan = StudyPlan.model_validate(
            {
                "study": "made",
                "select": {
                    "splits": ["s"],
                    "backbones": ["net"],
                    "detectors": list(detectors),
                    "thresholds": ["f1_max"],
                },
                "order": list(experiments or self.default_experiments()),
                "experiments": experiments or self.default_experiments(),
                "datasets": {"d": ["a", "b"]} | ({"e": ["a", "b"]} if camera else {}),
                "pools": {"all": ["d"]},
                "aliases": {"camera_b": {"d": "e"}} if camera else {},
                "weights": {"net": weights},
            }
        )
        self.plan = StudyPlan.model_validate_json(plan.canonical())  # as the scripts get it
        self.folder = Path("results/studies/made")

    @staticmethod
    def default_experiments() -> dict[str, object]:
        return {
            "clean": {"title": "In domain <b>bold</b>", "train": ["d"]},
            "shifted": {"title": "Shifted", "train": ["d"], "target_domains": ["dark"]},
            "adapted": {"title": "Adapted", "train": ["d"], "train_domains": ["dark"]},
            "pool": {"title": "Pool", "train": ["pools/all"]},
        }

    @property
    def provenance(self) -> dict[str, object]:
        return {
            "question": "What of <i>this</i>?",
            "evaluation": SPEC.model_dump(mode="json"),
            "domains": {
                "clean": {"shift": "none"},
                "dark": {"shift": "photometric", "severity": "severe", "seed": 0},
                "dim": {"shift": "photometric", "severity": "mild", "seed": 0},
            },
            "backbones": {"net": {"source": "torchvision", "image_size": [320, 224]}},
            "detectors": {"sharp": {"sampler": {"method": "greedy", "share": 0.02}}},
        }

    @property
    def data(self) -> StudyData:
        """What analyses and figures are made from."""
        detectors = {
            name: {"method": "patchcore", "sampler": {"method": "greedy", "share": 0.01 * (number + 1)}}
            for number, name in enumerate(self.plan.select.detectors)
        }
        domains = {
            "clean": DomainSpec().model_dump(mode="json"),
            "dark": DomainSpec(shift="photometric", severity="severe", seed=0).model_dump(mode="json"),
            "dim": DomainSpec(shift="photometric", severity="mild", seed=0).model_dump(mode="json"),
        }
        return StudyData(self.plan, SPEC, AnalysisSpec(), domains, detectors, {}, self.folder)

    def options(self) -> list[str]:
        """The arguments of scripts that analyse and draw it."""
        data = self.data
        return [
            *("--plan", self.plan.canonical(), "--spec", SPEC.canonical(), "--analysis", data.analysis.canonical()),
            *("--domains", json.dumps(data.domains), "--detectors", json.dumps(data.detectors)),
            *("--baselines", "{}", "--folder", str(self.folder)),
        ]

    def cells(self) -> list[Cell]:
        return list(dict.fromkeys(cell for cells in self.plan.cells().values() for cell in cells))

    def write(self) -> None:
        domains = {"clean", *(cell.target.domain for cell in self.cells())}
        for dataset in self.plan.datasets:
            folder = Path("images", dataset)
            for category in ("a", "b"):
                rows = self._write_images(dataset, category)
                for domain in domains:
                    seen = [self._as_seen(row, domain) for row in rows]
                    write_pack(Path(f"results/packs/{dataset}/{category}/{domain}.h5"), seen, folder, {})
            categories = [measure_category(CategoryFiles.of(dataset, category, ["s"])) for category in ("a", "b")]
            card = DataCard(dataset, {"licence": "free <b>of</b> charge"}, categories, {})
            write_card(self.folder / f"data_cards/{dataset}.json", card)
        for cell in self.cells():
            self._write_cell(cell)
        by_experiment = self.plan.cells()
        write_text(self.folder / "metrics.csv", tidy_metrics(self.cells()).to_csv(index=False))
        write_text(self.folder / "predictions.csv", predictions(self.cells()).to_csv(index=False))
        write_text(self.folder / "timings.csv", timings(self.cells()).to_csv(index=False))
        for name, cells in by_experiment.items():
            folder = self.folder / "experiments" / name
            write_text(folder / "results.csv", experiment_results(cells).to_csv(index=False))
            write_text(folder / "costs.csv", experiment_costs(cells).to_csv(index=False))
        self.table = text_table({name: (name, experiment_results(cells)) for name, cells in by_experiment.items()})

    def decide_by_zones(self) -> None:
        """Leave the images' decisions as they are, without a threshold of their scores."""
        table = self.folder / "predictions.csv"
        frame = pd.read_csv(table, keep_default_na=False, dtype=str).assign(threshold="")
        frame.to_csv(table, index=False)

    def _is_strange(self, target: Target, training: Target) -> bool:
        """Whether images are of another domain or camera than those of the bank."""
        camera = (target.dataset == "e") != (training.dataset == "e")
        return camera or target.domain != training.domain == "clean"

    def _is_gone(self, name: str, domain: str) -> bool:
        return domain == "dark" and "-test-1-" in name and int(name[-5]) < self.gone

    def _as_seen(self, row: ImageRow, domain: str) -> ImageRow:
        seen = replace(row, label=0, defect="", mask="") if self._is_gone(row.image, domain) else row
        return replace(seen, ignore="ignore.png") if self.ignore else seen

    def _write_images(self, dataset: str, category: str) -> list[ImageRow]:
        folder = Path("images", dataset)
        folder.mkdir(parents=True, exist_ok=True)
        rows, parts = [], {}
        plan = [("train", 0, 3), ("test", 0, 6), ("test", 1, 6)]
        if self.validation:
            plan += [("val", 0, 3), ("val", 1, 3)]
        for part, label, count in plan:
            for number in range(count):
                name = f"{category}-{part}-{label}-{number}"
                copied = label == 0 and number == 0 and part != "train"  # one image stands in val and in test
                generator = np.random.default_rng(crc32(f"{dataset}/{category if copied else name}".encode()))
                path = folder / f"{name}.png"
                Image.fromarray(generator.integers(60, 200, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)
                if label:
                    mask = np.zeros((SIZE, SIZE), np.uint8)
                    mask[4:9, 4 : 8 + number] = 255
                    Image.fromarray(mask).save(path.with_suffix(".mask.png"))
                defect = (NASTY if number % 2 else "hole") if label else ""
                rows.append(ImageRow(path.name, f"{name}.mask.png" if label else "", "", label, defect))
                parts[path.name] = part
        corner = np.zeros((SIZE, SIZE), np.uint8)
        corner[16:, 16:] = 255
        Image.fromarray(corner).save(folder / "ignore.png")
        rows = add_digests(rows, folder)
        write_index(Path(f"results/images/{dataset}/{category}.csv"), rows)
        split = Split(parts, frozenset(row.image for row in rows if row.label))
        write_split(Path(f"results/splits/{dataset}/{category}/s.csv"), split)
        return rows

    def _write_cell(self, cell: Cell) -> None:
        """Write what is made of a cell; studies that have it in common make it once."""
        paths = [Path(path) for path in (cell.scores, cell.metrics, cell.threshold_file, cell.decisions)]
        key = (cell, self.validation, self.gone, self.ignore)
        if key not in WRITTEN:
            self._make_cell(cell)
            WRITTEN[key] = [path.read_bytes() for path in paths]
        for path, content in zip(paths, WRITTEN[key], strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def _make_cell(self, cell: Cell) -> None:
        names, labels, masks = self._scored(cell)
        drift = 6.0 if self._is_strange(cell.target, cell.bank.training) else 0.0
        generator = np.random.default_rng(crc32(cell.scores.encode()))
        gap = 3.0 if cell.bank.detector == "sharp" else 0.4
        maps = generator.normal(0, 1, (len(names), 4, 4)).astype(np.float32) + np.float32(drift)
        maps[labels == 1, 1, 1] += np.float32(gap + 2)
        scores = maps.max(axis=(1, 2))
        provenance = {"libraries": {"numpy": "9.9"}, "inputs": {"bank": "f" * 64, "split": ["e" * 64]}}
        write_scores(Path(cell.scores), Scores(scores, maps), names, (SIZE, SIZE), provenance)
        test = np.array(["-test-" in name for name in names])
        ranking = evaluate_target(
            labels[test], scores[test], maps[test], masks[test], input_size=(SIZE, SIZE), spec=SPEC
        )
        write_json(Path(cell.metrics), ranking | {"facts": self._facts(cell)})
        reference = scores[~test] - (drift if cell.calibration != cell.target else 0)
        calibration = calibrate("f1_max", reference, labels[~test])
        write_json(
            Path(cell.threshold_file), {**dataclasses.asdict(calibration), "combination": None, "provenance": {}}
        )
        images = ScoredImages.read(Path(cell.scores), Path(cell.pack), Path(cell.split), part="test")
        write_json(Path(cell.decisions), decide_images(images, calibration, None, Path(cell.pack), SPEC))

    def _facts(self, cell: Cell) -> dict[str, float]:
        facts: dict[str, float] = {"feature_dim": 12, "patches_per_image": 16, "bank_vectors": 300, "bank_bytes": 14400}
        if cell.bank.training.dataset == POOLS:
            vectors = {"a": 75, "b": 225}
            facts |= {f"bank_vectors/d/{category}": count for category, count in vectors.items()}
            facts |= {"own_vector_share": vectors[cell.target.category] / 300}
            facts |= {"foreign_neighbours_normal": 0.125, "foreign_neighbours_anomalous": 0.5}
        return facts

    def _scored(self, cell: Cell) -> tuple[list[str], np.ndarray, np.ndarray]:
        plan = [("test", 0, 6), ("test", 1, 6)] + ([("val", 0, 3), ("val", 1, 3)] if self.validation else [])
        names, labels, masks = [], [], []
        for part, label, count in plan:
            for number in range(count):
                name = f"{cell.target.category}-{part}-{label}-{number}.png"
                anomalous = label and not self._is_gone(name, cell.target.domain)
                names.append(name)
                labels.append(int(anomalous))
                mask = np.zeros((SIZE, SIZE), bool)
                if anomalous:
                    mask[4:9, 4 : 8 + number] = True
                masks.append(mask)
        return names, np.array(labels), np.array(masks)

    def analyse(self) -> None:
        """Write the tables and ladders of its analyses, which the report reads."""
        data = self.data
        for experiment in self.plan.order:
            for name, make in EXPERIMENT_TABLES.items():
                write_text(
                    data.experiment_folder(experiment) / f"{name}.csv", make(data, experiment).to_csv(index=False)
                )
            ladder = EXPERIMENT_PLOTS["severity_ladder"].draw(data, experiment)
            save_plots({"severity_ladder": ladder}, data.experiment_folder(experiment) / "figures")
        for name, make_study_table in STUDY_TABLES.items():
            write_text(self.folder / f"{name}.csv", make_study_table(data).to_csv(index=False))

    def render(self, **arguments: Any) -> str:
        """The report, its tables made anew."""
        self.analyse()
        return render_report(self.data, self.provenance, **arguments)

    def arguments(self, report: Path) -> list[str]:
        """Those of the script that writes the report; its tables are made anew."""
        self.analyse()
        return [*self.options(), "--provenance", json.dumps(self.provenance), "--report", str(report)]


@pytest.fixture
def make_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., MadeStudy]:
    """Write a study with the arguments of `MadeStudy` to an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def write(**arguments: Any) -> MadeStudy:
        study = MadeStudy(**arguments)
        study.write()
        return study

    return write


@pytest.fixture
def calibrate_cell() -> Callable[[Cell, LogOdds | None], None]:
    """Make the scores of a written cell those of a calibrated dual bank, with weights in its threshold file or none."""

    def write(cell: Cell, weights: LogOdds | None) -> None:
        with h5py.File(cell.scores, "a") as file:
            if "negative" not in file["parts"]:
                for name, sign in (("negative", 1), ("positive", -1)):
                    file["parts"][name] = np.exp(sign * file["maps"][:] / 2)
                file.attrs["scoring"] = ScoringSpec(combination="calibrated").canonical()
        calibration = dataclasses.asdict(calibrate("f1_max", np.array([0.0, 1.0]), np.array([0, 1])))
        combination = dataclasses.asdict(weights) if weights else None
        write_json(Path(cell.threshold_file), {**calibration, "combination": combination, "provenance": {}})

    return write


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MadeStudy]:
    """The made-up study, written and analysed once: its working folder and itself."""
    folder = tmp_path_factory.mktemp("made")
    study = MadeStudy()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study.write()
        study.analyse()
    return folder, study


@pytest.fixture(scope="session")
def made_page(made_once: tuple[Path, MadeStudy]) -> str:
    """The report of the made-up study, rendered once."""
    folder, study = made_once
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return render_report(study.data, study.provenance)


@pytest.fixture
def made(made_once: tuple[Path, MadeStudy], monkeypatch: pytest.MonkeyPatch) -> MadeStudy:
    """The made-up study in its working folder; not to be written to."""
    monkeypatch.chdir(made_once[0])
    return made_once[1]


@pytest.fixture
def results(made: MadeStudy) -> StudyResults:
    """The made-up study's results."""
    return StudyResults(made.plan, made.folder)
