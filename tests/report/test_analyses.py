"""Every table that is planned is made, has its columns even where it has no row, and is the same bytes when remade."""

from pathlib import Path

import pandas as pd
import pytest

from patchshift.plan import analyses
from patchshift.report.analyses.tables import EXPERIMENT_TABLES, EXPERIMENT_TEXTS, STUDY_TABLES


def test_what_is_planned_is_what_can_be_made():
    assert {*(f"{name}.csv" for name in EXPERIMENT_TABLES), *EXPERIMENT_TEXTS} == set(analyses.EXPERIMENT_TABLES)
    assert {f"{name}.csv" for name in STUDY_TABLES} == set(analyses.STUDY_TABLES)


@pytest.mark.parametrize("experiment", ["clean", "pool"])
def test_scripts_write_all_tables_and_equal_bytes(made, tmp_path, experiment):
    import analyse_experiment
    import analyse_study

    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        tables = [str(folder / name) for name in analyses.EXPERIMENT_TABLES]
        analyse_experiment.main([*made.options(), "--experiment", experiment, "--tables", *tables])
        tables = [str(folder / name) for name in analyses.STUDY_TABLES]
        analyse_study.main([*made.options(), "--tables", *tables])
    first, second = (sorted(folder.iterdir()) for folder in folders)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    for path in first:
        assert path.read_bytes()
        if path.suffix == ".csv":
            assert len(pd.read_csv(path).columns) > 3


def test_a_study_without_thresholds_or_a_second_setup_has_all_tables(make_study):
    study = make_study(detectors=("sharp",), validation=False, only={"title": "", "train": ["d/a"]})
    for make in EXPERIMENT_TABLES.values():
        assert len(make(study.data, "only").columns) > 3
    for make_study_table in STUDY_TABLES.values():
        assert len(make_study_table(study.data).columns) > 3
    for write in EXPERIMENT_TEXTS.values():
        assert write(study.data, "only")


def test_the_baseline_is_the_one_that_is_named_or_the_first(made):
    data = made.data
    assert data.baseline("clean") == data.cells("clean")[0].bank.detector == "blunt"
    vars(data)["baselines"] = {"clean": "sharp"}
    assert data.baseline("clean") == "sharp"
    assert data.baseline("pool") == "blunt"
    assert data.experiment_folder("clean") == Path("results/studies/made/experiments/clean")
