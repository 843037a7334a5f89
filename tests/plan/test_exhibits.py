from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study
from patchshift.plan.exhibits import (
    card_categories,
    card_datasets,
    card_splits,
    count_workers,
    gallery_domains,
    list_card_packs,
    list_galleries,
    list_heatmaps,
    list_made_domains,
)

Settings = dict[str, Any]
Load = Callable[[], Study]


@pytest.fixture(autouse=True)
def severities(catalog: Settings) -> None:
    catalog["domains"] |= {
        "dimmer": {"shift": "photometric", "severity": "severe", "seed": 0},
        "blurred": {"shift": "defocus", "severity": 0.5, "seed": 0},
        "dim_again": {"shift": "photometric", "severity": "moderate", "seed": 1},
    }


def test_a_gallery_shows_the_shifts_that_a_category_is_fitted_or_scored_in(study: Settings, load: Load) -> None:
    study["experiments"]["clean"] |= {"train": ["parts/bolt"], "target_domains": ["dimmer", "dim"]}
    study["experiments"]["adapted"] = {"title": "", "train": ["cloth"], "train_domains": ["turned"]}
    loaded = load()
    assert list_galleries(loaded) == [("cloth", "weave"), ("parts", "bolt")]
    assert gallery_domains(loaded, "parts", "bolt") == ["clean", "dim", "dimmer"]
    assert gallery_domains(loaded, "cloth", "weave") == ["clean", "turned"]
    made = [target.path for target in list_made_domains(loaded)]
    assert made == ["cloth/weave/turned", "parts/bolt/dim", "parts/bolt/dimmer"]


def test_a_view_is_shown_beside_the_shifts(catalog: Settings, study: Settings, load: Load) -> None:
    catalog["domains"] |= {"far": {"view": {"short_side": 256}}, "near": {"view": {"short_side": 512}}}
    study["experiments"]["clean"] |= {"train": ["cloth"], "target_domains": ["near", "dim", "far"]}
    loaded = load()
    assert gallery_domains(loaded, "cloth", "weave") == ["clean", "dim", "far", "near"]


def test_turned_images_are_made_once_and_shown_nowhere(catalog: Settings, study: Settings, load: Load) -> None:
    catalog["domains"]["turned_plan"] = {"turns": {"split": "plan"}}
    catalog["detectors"]["few"] = {"method": "patchcore", "turned": ["turned_plan"]}
    study["experiments"]["clean"] |= {"train": ["pools/metal", "parts/bolt"], "detectors": ["few", "plain"]}
    loaded = load()
    assert list_galleries(loaded) == []
    assert [target.path for target in list_made_domains(loaded)] == ["parts/bolt/turned_plan", "parts/nut/turned_plan"]


def test_a_gallery_shows_what_thresholds_are_calibrated_on_and_what_members_of_a_pool_are_fitted_on(
    study: Settings, load: Load
) -> None:
    study["experiments"] = {
        "calibrated": {"title": "", "train": ["parts/nut"], "calibrate_on": "dimmer"},
        "pooled": {"title": "", "train": ["pools/mixed"], "train_domains": ["dim"], "targets": ["parts/nut"]},
    }
    loaded = load()
    assert gallery_domains(loaded, "parts", "nut") == ["clean", "dim", "dimmer"]
    assert list_galleries(loaded) == [("cloth", "weave"), ("parts", "bolt"), ("parts", "nut")]
    assert {target.path for target in list_made_domains(loaded)} == {
        *("cloth/weave/dim", "parts/bolt/dim", "parts/nut/dim", "parts/nut/dimmer"),
    }


def test_a_study_without_shifts_has_no_gallery(load: Load) -> None:
    assert list_galleries(load()) == []


def test_cards_show_what_a_study_uses(study: Settings, load: Load) -> None:
    study["experiments"]["clean"] |= {"train": ["parts/nut"], "targets": ["cloth", "parts/bolt"]}
    study["experiments"]["pooled"] = {"title": "", "train": ["pools/metal"], "splits": ["published"]}
    loaded = load()
    assert card_datasets(loaded) == ["cloth", "parts"]
    assert card_categories(loaded, "parts") == ["bolt", "nut"]
    assert card_splits(loaded, "parts") == ["plan", "published"]
    assert card_splits(loaded, "cloth") == ["plan"]
    assert list_card_packs(loaded)[:2] == ["results/packs/cloth/weave/clean.h5", "results/packs/parts/bolt/clean.h5"]


def test_heatmaps_of_a_cell_name_its_bank_target_and_threshold(study: Settings, load: Load) -> None:
    study["experiments"]["clean"] |= {"train": ["cloth"], "target_domains": ["dim"]}
    loaded = load()
    (cell,) = (cell for cell in loaded.cells["clean"] if cell.target.category == "weave")
    folder = f"{loaded.folder}/heatmaps/{cell.bank.path}/on/{cell.target.path}/from/{cell.calibration.path}"
    assert f"{folder}/{cell.threshold}" in list_heatmaps(loaded)
    assert len(set(list_heatmaps(loaded))) == len(loaded.all_cells())


def test_a_domain_is_made_with_its_part_of_the_cores_and_with_a_few_elsewhere(study: Settings, load: Load) -> None:
    study["experiments"]["clean"] |= {"train": ["parts/bolt"], "target_domains": ["dimmer", "dim"]}
    loaded = load()
    assert len(list_made_domains(loaded)) == 2
    assert count_workers(loaded, 7) == 3
    assert count_workers(loaded, 1) == 1
    assert count_workers(loaded, None) == 4
