"""The studies that the repository comes with: how much work each plans, and that each has a small form and a row."""

import re
from pathlib import Path

import pytest

from patchshift.plan import Study, checking, load_study
from patchshift.plan.batches import list_targets
from patchshift.plan.exhibits import list_made_domains
from patchshift.plan.inspections import list_distances
from patchshift.plan.training_inputs import positive_domains, turned_domains

MOST_JOBS = 6000

SOURCE_STUDIES = (
    *("backbones", "cross_category", "fusion", "cross_dataset", "domain_shift", "ablations"),
    *("ksdd2", "few_shot", "contamination"),
)
"""Those that come from elsewhere, or that nobody had: each has a small form of its own name."""

RULES = (
    *("extract_features", "fit_detector", "score_images", "calibrate_threshold", "evaluate", "decide"),
    *("synthesize_shift", "measure_distances"),
)
JOBS = {
    "backbones": (90, 90, 90, 90, 90, 90, 0, 0),
    "cross_category": (30, 50, 500, 50, 500, 500, 0, 200),
    "fusion": (10, 40, 40, 40, 40, 40, 0, 0),
    "cross_dataset": (27, 30, 114, 45, 114, 114, 0, 0),
    "domain_shift": (81, 62, 378, 120, 378, 480, 78, 177),
    "ablations": (10, 90, 90, 90, 90, 90, 0, 0),
    "ksdd2": (8, 12, 12, 12, 12, 12, 0, 0),
    "few_shot": (90, 150, 150, 150, 150, 150, 0, 0),
    "contamination": (15, 375, 375, 375, 375, 375, 0, 0),
    "compat": (45, 105, 105, 105, 105, 105, 15, 0),
    "transfer": (27, 140, 300, 275, 300, 360, 0, 0),
    "mtd": (2, 4, 4, 4, 4, 4, 0, 0),
    "mtd_published": (2, 18, 18, 18, 18, 18, 0, 0),
    "mtd_detectors": (1, 32, 32, 32, 32, 32, 0, 0),
    "mtd_fusions": (3, 11, 11, 11, 11, 11, 0, 0),
}
"""Study -> jobs of each of `RULES`, a job for each target of a batch."""


@pytest.fixture(autouse=True)
def in_the_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)


def open_config(path: Path) -> Study:
    return load_study(checking.read_yaml(path), str(path), ids=Path("no/ids.json"))


def list_configs(folder: str) -> list[Path]:
    return [path for path in sorted(Path(folder).glob("*.yaml")) if path.name != "catalog.yaml"]


def count_jobs(study: Study) -> tuple[int, ...]:
    """Jobs of each of `RULES` where nothing is there yet, from the study's cells."""
    cells = study.all_cells()
    banks = {cell.bank for cell in cells}
    extracted = {(backbone, target.path) for backbone, targets in list_targets(study).items() for target in targets}
    for bank in banks:
        for domain in [*turned_domains(study, bank.detector), *positive_domains(study, bank.detector)]:
            extracted |= {(bank.backbone, f"{each.dataset}/{each.category}/{domain}") for each in bank.fitted_on}
    scored = {f"{cell.bank.path}/{target.path}" for cell in cells for target in (cell.target, *cell.calibrated_on)}
    shifts = [each for each in list_made_domains(study) if study.catalog.domains[each.domain].kind in ("shift", "view")]
    return (
        *(len(extracted), len(banks), len(scored)),
        *(len({getattr(cell, kind) for cell in cells}) for kind in ("threshold_file", "metrics", "decisions")),
        *(len(shifts), len(list_distances(study))),
    )


def read_rows() -> dict[str, list[str]]:
    """Config -> the cells of its row in the table of docs/studies.md."""
    lines = Path("docs/studies.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| [")]
    return {re.findall(r"\(\.\./(configs/\w+\.yaml)\)", row[0])[0]: row for row in rows}


@pytest.mark.parametrize("name", JOBS)
def test_a_study_plans_as_many_costly_jobs_as_are_stated(name: str) -> None:
    assert dict(zip(RULES, count_jobs(open_config(Path(f"configs/{name}.yaml"))), strict=True)) == dict(
        zip(RULES, JOBS[name], strict=True)
    )


def test_every_config_has_stated_jobs_a_row_and_a_small_form() -> None:
    rows = read_rows()  # of a config without a row CI says so; here there may be one of the user's own
    assert set(JOBS) <= {path.stem for path in list_configs("configs")}
    assert set(rows) == {f"configs/{name}.yaml" for name in JOBS}
    for config, (_, small, jobs, *_) in rows.items():
        (form,) = re.findall(r"\(\.\./(configs/small/\w+\.yaml)\)", small)
        assert Path(form).is_file(), f"{config}: {form}"
        assert sum(JOBS[Path(config).stem]) < int(jobs.replace(",", "")) <= MOST_JOBS, config


def test_every_small_form_is_one_of_a_config_or_has_a_row_of_its_own() -> None:
    page = Path("docs/studies.md").read_text(encoding="utf-8")
    assert [path for path in list_configs("configs/small") if f"(../{path})" not in page] == []


@pytest.mark.parametrize("name", SOURCE_STUDIES)
def test_a_small_form_asks_the_same_and_delivers_the_same_columns_and_figures(name: str) -> None:
    full, small = (open_config(Path(folder, f"{name}.yaml")).config for folder in ("configs", "configs/small"))
    assert full.deliverables
    assert small.deliverables == full.deliverables
    assert small.question.replace("one dataset to another", "MVTec AD to VisA") == full.question
    assert len(small.experiments) > 1 or len(full.experiments) == 1


def test_the_cross_shift_matrix_spans_six_domains() -> None:
    experiment = open_config(Path("configs/domain_shift.yaml")).config.experiments["cross_shift"]
    assert len(set(experiment.train_domains)) == 6
    assert experiment.target_domains == experiment.train_domains


def test_no_id_means_two_things_in_the_configs_of_the_repository(tmp_path: Path) -> None:
    record = tmp_path / "ids.json"
    for path in [*list_configs("configs"), *list_configs("configs/small")]:
        study = load_study(checking.read_yaml(path), str(path), ids=record)
        checking.record_ids(study, lambda to, content: to.write_text(checking.canonical_json(content)), record)
