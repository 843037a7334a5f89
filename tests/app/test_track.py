import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from patchshift.app.main import main
from patchshift.app.track import DIGEST, KEY, SUPERSEDED, read_runs
from patchshift.errors import UserError
from patchshift.plan.checking import load_study
from patchshift.plan.study import Study
from patchshift.report.keys import METRICS_COLUMNS, cell_keys

CATALOG = {
    "datasets": {"parts": {"adapter": "mvtec_ad", "categories": ["bolt", "nut"]}},
    "pools": {"both": ["parts"]},
    "splits": {"halves": {"protocol": "source_plan", "train_share": 0.5, "val_anomalous_share": 0.5}},
    "domains": {"clean": {"shift": "none"}},
    "backbones": {"waves": {"source": "scattering", "image_size": 64, "octaves": 3}},
    "detectors": {"pc": {"method": "patchcore", "sampler": {"share": 0.1}}},
    "thresholds": {"best": {"policy": "f1_max"}, "strict": {"policy": "normal_quantile", "quantile": 0.99}},
}
STUDY = {
    "study": "made",
    "question": "Is it tracked?",
    "catalog": "catalog.yaml",
    "select": {"splits": ["halves"], "backbones": ["waves"], "detectors": ["pc"], "thresholds": ["best", "strict"]},
    "experiments": {
        "own": {"title": "Own banks", "train": ["parts"]},
        "again": {"title": "One of them", "train": ["parts/bolt"]},
        "pool": {"title": "A shared bank", "train": ["pools/both"]},
    },
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of four banks and targets, two policies each, whose metrics.csv is there."""
    monkeypatch.chdir(tmp_path)
    Path("catalog.yaml").write_text(yaml.safe_dump(CATALOG, sort_keys=False))
    Path("config.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    study = load_study(STUDY, "config.yaml")
    write_metrics(study)
    return study


def write_metrics(study: Study, auroc: float = 0.9) -> None:
    table = Path(study.folder, "metrics.csv")
    table.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    for cell in study.all_cells():
        ranking, decided = cell_keys(cell, ranking=True), cell_keys(cell)
        for keys, metric, values in (
            (ranking, "image_auroc", (auroc, 0.8, 0.95, "")),
            (ranking, "pro", ("", "", "", "no mask")),
            *((ranking, name, (5, "", "", "")) for name in ("bank_vectors", "bank_vectors/parts/bolt")),
            (decided, "f1", (0.7 if cell.threshold == "best" else 0.6, "", "", "")),
        ):
            rows[*keys.values(), metric] = keys | dict(zip(METRICS_COLUMNS, (metric, *values), strict=True))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, next(iter(rows.values())))
        writer.writeheader()
        writer.writerows(rows.values())


def test_a_run_has_what_a_bank_and_a_target_have_and_how_it_was_set(study: Study) -> None:
    runs = {run.key: run for run in read_runs(study, "snakemake")}
    assert len(runs) == 4
    bolt = runs["parts/bolt/clean/halves/waves/pc/seed0/on/parts/bolt/clean"]
    assert bolt.metrics == {
        "image_auroc": 0.9,
        "image_auroc_low": 0.8,
        "image_auroc_high": 0.95,
        "bank_vectors": 5,
        "bank_vectors.parts.bolt": 5,  # no folder of this name beside the metric above
        "best/parts.bolt.clean/f1": 0.7,
        "strict/parts.bolt.clean/f1": 0.6,
    }
    expected = {
        "train": "parts/bolt/clean",
        "seed": "0",
        "weights": "none",
        "detector.sampler.share": "0.1",
        "backbone.octaves": "3",
        "split.protocol": "source_plan",
        "threshold.strict.quantile": "0.99",
    }
    assert expected.items() <= bolt.params.items()
    assert bolt.tags["undefined.pro"] == "no mask"
    assert bolt.tags["experiments"] == "own, again"
    artifacts = {text for name, text in bolt.tags.items() if name.startswith("artifact.")}
    assert artifacts == {path for cell in study.cells["again"] for path in cell.artifacts}


def test_results_that_are_not_there_are_missed_by_name(study: Study) -> None:
    table = Path(study.folder, "metrics.csv")
    table.write_text("".join(line for line in table.open() if ",nut," not in line))
    with pytest.raises(UserError, match=r"has nothing of parts/nut/.*: run the study again"):
        list(read_runs(study, "snakemake"))
    table.unlink()
    with pytest.raises(UserError, match=r"metrics.csv does not exist: run the study first"):
        list(read_runs(study, "snakemake"))


def test_without_mlflow_the_message_says_how_to_install_it(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main(["track", "made"]) == 1
    assert "mlflow is not installed: pip install" in capsys.readouterr().err
    assert not Path("results/tracking").exists()


def tracked(to: str) -> list[Any]:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed (.[tracking])")
    client = mlflow.MlflowClient(Path(to).absolute().as_uri())
    return list(client.search_runs([client.get_experiment_by_name("made").experiment_id]))


@pytest.fixture
def say(study: Study, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Track the study, and return what the command prints after the name of the experiment."""
    pytest.importorskip("mlflow", reason="MLflow is not installed (.[tracking])")

    def call() -> str:
        assert main(["track", "config.yaml", "--to", "store"]) == 0
        return capsys.readouterr().out.strip().partition("made: ")[2]

    return call


def test_a_second_call_adds_nothing(study: Study, say: Callable[[], str]) -> None:
    assert say() == "4 new, 0 there already, 0 superseded"
    assert say() == "0 new, 4 there already, 0 superseded"
    runs = tracked("store")
    expected = {run.key: run for run in read_runs(study, "snakemake")}
    assert len(runs) == len(expected)
    for run in runs:
        ours = expected[run.data.tags[KEY]]
        assert run.data.metrics == ours.metrics
        assert run.data.params == ours.params
        assert ours.tags.items() <= run.data.tags.items()
        assert run.info.status == "FINISHED"


def test_other_results_stand_beside_the_earlier_ones_which_are_marked(study: Study, say: Callable[[], str]) -> None:
    say()
    earlier = {run.data.tags[DIGEST] for run in tracked("store")}
    write_metrics(study, auroc=0.92)
    assert say() == "4 new, 0 there already, 4 superseded"
    runs = tracked("store")
    assert {run.data.tags[DIGEST] for run in runs if SUPERSEDED in run.data.tags} == earlier
    assert len(runs) == 8
    write_metrics(study)
    assert say() == "0 new, 4 there already, 4 superseded"
    assert {run.data.tags[DIGEST] for run in tracked("store") if SUPERSEDED not in run.data.tags} == earlier


def test_a_call_that_was_interrupted_leaves_no_double(study: Study, say: Callable[[], str]) -> None:
    say()
    client = pytest.importorskip("mlflow").MlflowClient(Path("store").absolute().as_uri())
    first = tracked("store")[0]
    client.create_run(first.info.experiment_id, tags=dict.fromkeys((KEY, DIGEST), first.data.tags[KEY]))
    assert len(tracked("store")) == 5
    assert say() == "0 new, 4 there already, 0 superseded"
    assert len(tracked("store")) == 4


def test_a_place_that_cannot_be_written_to_is_named(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed (.[tracking])")
    Path("store").write_text(json.dumps("a file"))
    assert main(["track", "made", "--to", "store"]) == 1
    assert "error: cannot track to store: " in capsys.readouterr().err
    assert main(["track", "made", "--to", "nothing://there"]) == 1
    assert "error: cannot track to nothing://there: " in capsys.readouterr().err
