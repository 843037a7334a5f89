from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from patchshift.app.advice import Findings, advise, examine
from patchshift.data.adapters import list_images
from patchshift.plan import read_yaml

MakeTree = Callable[..., Path]

PLENTY = Findings(
    good=100,
    defects={"crack": 20},
    with_mask=20,
    official=True,
    sizes=[(700, 900)] * 5,
    defect_sides=[0.2] * 20,
)


def test_a_category_is_counted_and_its_masks_are_measured(make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad({"crack": 3, "scratch": 2}, train=5, good=3, size=(30, 40))
    found = examine(list_images(root, "mvtec_ad"), root)
    assert (found.good, found.defects, found.with_mask, found.official) == (8, {"crack": 3, "scratch": 2}, 5, True)
    assert set(found.sizes) == {(30, 40)}
    assert found.defect_sides == pytest.approx([(36 / 1200) ** 0.5] * 5)


def test_with_enough_defects_some_choose_the_threshold() -> None:
    advice = advise({"bolt": PLENTY})
    assert (advice.masks, advice.splits, advice.thresholds) == ("required", ["source_plan"], ["f1_max", "normal_p95"])
    assert advice.warnings == []


def test_masks_are_said_to_be_missing_only_in_the_categories_that_have_none() -> None:
    without = replace(PLENTY, with_mask=0, defect_sides=[])
    advice = advise({"bolt": PLENTY, "nut": without, "screw": without, "washer": replace(without, defects={})})
    assert advice.masks == "optional"
    assert advice.reasons["masks"] == "no masks in nut, screw: pixels are measured in the other categories only"
    assert advise({"nut": without}).reasons["masks"] == "no masks: images are measured, pixels are not"


def test_few_defects_are_all_kept_for_testing() -> None:
    advice = advise({"bolt": PLENTY, "nut": replace(PLENTY, defects={"crack": 3}, with_mask=3)})
    assert (advice.splits, advice.thresholds) == (["normals_only"], ["normal_p95", "f1_max_synthetic"])
    assert any("3 defective images" in line for line in advice.warnings)


def test_without_defects_it_says_what_cannot_be_known() -> None:
    advice = advise({"bolt": replace(PLENTY, defects={}, with_mask=0, defect_sides=[])})
    assert (advice.masks, advice.splits) == ("optional", ["normals_only"])
    assert any("misses cannot" in line for line in advice.warnings)


def test_defects_smaller_than_a_patch_ask_for_a_larger_input() -> None:
    assert advise({"bolt": PLENTY}).image_size == 224
    advice = advise({"bolt": replace(PLENTY, defect_sides=[0.02] * 20)})
    assert advice.image_size == 448
    assert "smaller than one patch" in advice.reasons["backbones"]
    assert advise({"bolt": replace(PLENTY, defect_sides=[0.02] * 20, sizes=[(200, 900)])}).image_size == 224


def test_every_id_that_is_advised_is_in_the_catalog(repository: Path) -> None:
    catalog = read_yaml(repository / "configs/catalog.yaml")
    for found in (PLENTY, replace(PLENTY, defects={}, with_mask=0)):
        advice = advise({"bolt": found})
        assert set(advice.splits) <= catalog["splits"].keys()
        assert set(advice.thresholds) <= catalog["thresholds"].keys()
