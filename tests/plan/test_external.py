import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchshift.plan import Study, exhibits, inspections, missing_inputs
from patchshift.plan.base import leaves_folder
from patchshift.plan.batches import list_targets
from patchshift.plan.cells import Cell, Target
from patchshift.plan.external import (
    fingerprint_maps,
    import_spec,
    name_detectors,
    table_inputs,
)
from patchshift.plan.provenance import provenance_spec
from patchshift.plan.training_inputs import is_fitted

Settings = dict[str, Any]
Load = Callable[[], Study]
Mistakes = Callable[[], list[str]]

WEAVE = Target("cloth", "weave", "clean")
TABLE = Path("images/scores/flow/cloth/weave/clean.csv")


@pytest.fixture
def study(study: Settings, catalog: Settings) -> Settings:
    """A fitted detector beside the scores of another method, on backbones of their own."""
    catalog["detectors"]["flow"] = {"method": "external", "folder": "scores/flow", "weights": "none published"}
    study["data_dir"] = "images"
    study["select"] |= {"backbones": ["waves", "resnet"], "detectors": ["plain", "flow"]}
    own = {"detector": "plain", "backbone": "waves"}
    other = {"detector": "flow", "backbone": "resnet"}
    study["experiments"] = {"compared": {"title": "", "train": ["cloth"], "include": [own, other]}}
    return study


@pytest.fixture
def cells(study: Settings, load: Load) -> tuple[Cell, Cell]:
    fitted, external = load().cells["compared"]
    return fitted, external


def test_an_external_detector_has_neither_features_nor_bank(cells: tuple[Cell, Cell]) -> None:
    fitted, external = cells
    assert (fitted.bank.is_fitted, external.bank.is_fitted) == (True, False)
    folders = [{path.split("/")[1] for path in cell.artifacts} for cell in cells]
    assert folders[0] - folders[1] == {"features", "banks"}
    assert folders[1] == {"scores", "thresholds", "packs", "metrics", "decisions"}
    assert external.scores == "results/scores/cloth/weave/clean/plan/resnet/flow/seed0/on/cloth/weave/clean.h5"


def test_tables_show_the_weights_that_the_detector_says_and_not_those_of_the_backbone(cells: tuple[Cell, Cell]) -> None:
    fitted, external = cells
    assert (fitted.bank.weights, external.bank.weights) == ("none", "none published")


def test_the_plan_given_to_tables_and_report_has_the_same_cells(study: Settings, load: Load) -> None:
    loaded = load()
    plan = type(loaded.plan).model_validate_json(loaded.plan_spec("compared"))
    found = plan.cells()["compared"]
    assert [(cell.bank.weights, cell.bank.is_fitted) for cell in found] == [("none", True), ("none published", False)]
    study["experiments"]["own"] = {"title": "", "train": ["cloth"], "backbones": ["waves"], "detectors": ["plain"]}
    assert '"external":{}' in load().plan_spec("own")


def test_nobody_asks_for_features_or_weights_of_the_backbone_that_labels_an_external_detector(
    study: Settings, load: Load
) -> None:
    study["inspection"] = {"distances": True}
    loaded = load()
    assert list_targets(loaded) == {"waves": [WEAVE]}
    assert inspections.inspected_backbones(loaded) == ["waves"]
    assert [look.backbone for look in inspections.list_looks(loaded)] == ["waves"]
    assert [pair.backbone for pair in inspections.list_distances(loaded)] == ["waves"]
    assert "resnet" not in str(exhibits.list_figures(loaded))
    assert "resnet" not in provenance_spec(loaded)


def test_a_category_that_only_an_external_detector_scores_is_not_looked_into(study: Settings, load: Load) -> None:
    study["inspection"] = {}
    study["experiments"]["others"] = {"title": "", "train": ["parts"], "backbones": ["waves"], "detectors": ["flow"]}
    assert {look.target for look in inspections.list_looks(load())} == {WEAVE}
    assert {pair.target for pair in inspections.list_distances(load())} == {WEAVE}


def test_a_backbone_that_only_labels_scores_cannot_be_inspected(study: Settings, mistakes: Mistakes) -> None:
    study["inspection"] = {"backbones": ["resnet"]}
    assert mistakes() == ["study.yaml: inspection.backbones: 'resnet' is not used by this study (known: waves)"]


def test_a_study_of_external_scores_alone_needs_no_features(study: Settings, load: Load) -> None:
    study["inspection"] = {}
    study["select"] |= {"backbones": ["resnet"], "detectors": ["flow"]}
    study["experiments"] = {"alone": {"title": "", "train": ["cloth"]}}
    loaded = load()
    assert (list_targets(loaded), inspections.list_looks(loaded), inspections.list_distances(loaded)) == ({}, [], [])


def test_every_detector_is_either_fitted_or_read_from_files(study: Settings, load: Load) -> None:
    loaded = load()
    for name in loaded.catalog.detectors:
        fitted = [bool(re.fullmatch(name_detectors(loaded, fitted=kind), name)) for kind in (True, False)]
        assert fitted == [is_fitted(loaded, name), not is_fitted(loaded, name)]
    assert is_fitted(loaded, "flow") is False


def test_where_no_detector_is_external_no_name_matches(catalog: Settings, study: Settings, load: Load) -> None:
    del catalog["detectors"]["flow"]
    study["select"]["detectors"] = ["plain"]
    study["experiments"] = {"own": {"title": "", "train": ["cloth"], "backbones": ["waves"]}}
    assert not re.fullmatch(name_detectors(load(), fitted=False), "")


def test_a_table_that_is_missing_is_named_before_any_job_starts(study: Settings, load: Load) -> None:
    job = ("import_scores", {"detector": "flow", "target_dataset": "cloth", "target_category": "weave"})
    job[1]["target_domain"] = "clean"
    loaded = load()
    assert table_inputs(loaded, "flow", WEAVE) == []
    assert missing_inputs(loaded, [job]) == [
        f"detector 'flow': scores {TABLE} do not exist. Write them there (columns image, score, and map where there "
        "are maps: docs/detectors.md), or set `data_dir` (now 'images') to the folder that holds "
        "'scores/flow/cloth/weave/clean.csv'"
    ]
    TABLE.parent.mkdir(parents=True)
    TABLE.write_text("image,score\n")
    assert missing_inputs(loaded, [job]) == []
    assert table_inputs(loaded, "flow", WEAVE) == [str(TABLE)]


def test_what_tables_say_of_the_weights_is_no_reason_to_read_scores_again(
    catalog: Settings, study: Settings, load: Load
) -> None:
    before = import_spec(load(), "flow")
    catalog["detectors"]["flow"]["weights"] = "in-house"
    assert import_spec(load(), "flow") == before


@pytest.fixture
def fingerprint(study: Settings, load: Load) -> Callable[..., str]:
    """The fingerprint of the maps that a table of these lines names."""

    def find(*lines: str) -> str:
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text("\n".join(lines))
        return fingerprint_maps(load(), "flow", WEAVE)

    return find


def test_a_map_that_is_written_anew_is_noticed(fingerprint: Callable[..., str]) -> None:
    lines = ["image, score, map", "a.png, 1, maps/a.npy"]
    without = fingerprint(*lines)
    path = TABLE.parent / "maps" / "a.npy"
    path.parent.mkdir()
    path.write_text("first")
    first = fingerprint(*lines)
    assert first == fingerprint(*lines) != without
    os.utime(path, (1, 1))
    assert fingerprint(*lines) != first


@pytest.mark.parametrize(
    "lines", [[], [""], ["image,score", "a.png,1"], ["image,score,map", "a.png"], ["image,score,map", 'a.png,1,"']]
)
def test_a_table_without_maps_has_no_fingerprint_of_any(fingerprint: Callable[..., str], lines: list[str]) -> None:
    assert fingerprint(*lines) in ("", fingerprint("image,score,map"))


def test_maps_outside_the_tables_folder_are_not_looked_at(fingerprint: Callable[..., str]) -> None:
    outside = TABLE.parents[1] / "secret.npy"
    inside = fingerprint("image,score,map")
    outside.write_text("")
    assert fingerprint("image,score,map", "a,1,../secret.npy", f"b,2,{outside.absolute()}") == inside
    assert [leaves_folder(path) for path in ("a/b.npy", "a/../b.npy", "/b.npy")] == [False, True, True]


def test_one_table_cannot_stand_for_several_trainings(study: Settings, mistakes: Mistakes) -> None:
    study["experiments"] = {
        "shifted": {
            "title": "",
            "train": ["cloth"],
            "train_domains": ["clean", "dim"],
            "target_domains": ["dim"],
            "backbones": ["resnet"],
            "detectors": ["flow"],
        }
    }
    assert mistakes() == [
        "study.yaml: detector 'flow' is read from one table for cloth/weave/dim, which cannot be the scores of methods "
        "trained on cloth/weave/clean and on cloth/weave/dim: exclude all but one of these combinations, or add a "
        "detector with a folder of its own for each"
    ]


def test_one_training_may_be_scored_on_many_targets(study: Settings, load: Load) -> None:
    study["experiments"] = {
        "shifted": {"title": "", "train": ["cloth"], "target_domains": ["clean", "dim"], "detectors": ["flow"]}
    }
    assert len(load().cells["shifted"]) == 2 * 2


def test_a_folder_outside_the_data_is_refused(catalog: Settings, study: Settings, mistakes: Mistakes) -> None:
    catalog["detectors"]["flow"]["folder"] = "../elsewhere"
    assert [line for line in mistakes() if "must stay inside its folder" in line]
