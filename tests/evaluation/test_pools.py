from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import write_pack
from patchshift.data.splits import Split, write_split
from patchshift.detectors.dual import DualBank
from patchshift.detectors.fit import fit_detector
from patchshift.detectors.scores import Scores, write_scores
from patchshift.detectors.training import Positives, TrainingSet
from patchshift.evaluation.pools import COMPOSITION, measure_composition
from patchshift.evaluation.scored import ScoredImages
from patchshift.plan.detector_specs import DETECTOR
from patchshift.plan.score_specs import ScoringSpec

NAMES = ["0.png", "1.png", "2.png"]  # good, good, defective
MEMBERS = ["d/a", "d/b", "e/a"]
FACTS = {"bank_vectors": 40, "bank_vectors/d/a": 30, "bank_vectors/d/b": 10, "bank_vectors/e/a": 0}
NEAREST = np.array([[[0, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 1]], [[1, 1, 1], [1, 0, 0]]], np.int16)


def scored(folder: Path, *, told: bool = True, ignore: bool = False, defective: bool = True) -> ScoredImages:
    """Three scored images of 2 x 3 patches of a pool's bank; with `ignore`, their right column is ignored."""
    mask = np.zeros((2, 3), np.uint8)
    mask[:, 2] = 1
    Image.fromarray(mask).save(folder / "ignore.png")
    rows = []
    for name in NAMES:
        Image.new("RGB", (3, 2)).save(folder / name)
        label = int(defective and name == "2.png")
        rows.append(ImageRow(name, "", "", label, "hole" * label, ignore="ignore.png" * ignore))
    write_pack(folder / "pack.h5", add_digests(rows, folder), folder, {})
    write_split(folder / "split.csv", Split(dict.fromkeys(NAMES, "test"), frozenset(["2.png"])))
    parts = {"member": NEAREST} if told else {}
    scores = Scores(np.zeros(3, np.float32), np.zeros(NEAREST.shape, np.float32), parts, FACTS, MEMBERS)
    write_scores(folder / "scores.h5", scores, NAMES, (2, 3), {})
    return ScoredImages.read(folder / "scores.h5", folder / "pack.h5", folder / "split.csv", part="test")


@pytest.mark.parametrize(("category", "shares"), [("d/a", [0.75, 3 / 12, 4 / 6]), ("d/b", [0.25, 9 / 12, 2 / 6])])
def test_shares_are_of_the_vectors_and_of_the_patches_of_each_class(
    tmp_path: Path, category: str, shares: list[float]
) -> None:
    found = measure_composition(scored(tmp_path), category, tmp_path / "pack.h5")
    assert list(found) == list(COMPOSITION)
    assert list(found.values()) == pytest.approx(shares)


@pytest.mark.parametrize("category", ["e/a", "x/y"])  # without a vector in the bank, and without a place in the pool
def test_a_category_without_a_vector_finds_none_but_others(tmp_path: Path, category: str) -> None:
    assert list(measure_composition(scored(tmp_path), category, tmp_path / "pack.h5").values()) == [0, 1, 1]


def test_ignored_patches_do_not_count(tmp_path: Path) -> None:
    found = measure_composition(scored(tmp_path, ignore=True), "d/a", tmp_path / "pack.h5")
    assert list(found.values()) == pytest.approx([0.75, 1 / 8, 3 / 4])


def test_without_images_of_a_class_its_share_is_absent(tmp_path: Path) -> None:
    found = measure_composition(scored(tmp_path, defective=False), "d/a", tmp_path / "pack.h5")
    assert list(found) == ["own_vector_share", "foreign_neighbours_normal"]
    assert found["foreign_neighbours_normal"] == pytest.approx(7 / 18)


def test_a_bank_that_does_not_tell_whose_vectors_it_holds_has_no_shares(tmp_path: Path) -> None:
    assert measure_composition(scored(tmp_path, told=False), "d/a", tmp_path / "pack.h5") == {}


@pytest.mark.parametrize("combination", ["ratio", "calibrated"])
def test_defective_patches_of_a_dual_bank_are_nobodys_vectors(
    make_category: Callable[..., Any], tmp_path: Path, combination: str
) -> None:
    category = make_category()
    pack, split = tmp_path / "pack.h5", tmp_path / "split.csv"
    write_split(split, category.split)
    good, test = category.split.of("train"), category.split.of("test")
    dents = [key for key in test if "dent" in key]
    positives = [Positives(category.store.select(dents), pack)]
    training = TrainingSet(category.store.select(good), ["d/a", "d/b"], np.array([0, 0, 0, 1], np.int16), positives)
    spec = DETECTOR.validate_python({"method": "patchcore_dual", "sampler": {"share": 0.25}})
    bank = fit_detector(spec, training, seed=0)
    assert isinstance(bank.model, DualBank)
    assert bank.model.positive is not None
    assert bank.model.negative.members is not None
    scores = bank.score(category.store.select(test), ScoringSpec(combination=combination))
    write_scores(tmp_path / "scores.h5", scores, test, (32, 24), {})
    images = ScoredImages.read(tmp_path / "scores.h5", pack, split, part="test")
    found = {member: measure_composition(images, member, pack) for member in ("d/a", "d/b", "x/y")}
    counted = np.bincount(bank.model.negative.members) / bank.model.negative.size
    assert [found[name]["own_vector_share"] for name in ("d/a", "d/b", "x/y")] == pytest.approx([*counted, 0])
    assert [found[name]["foreign_neighbours_normal"] for name in ("d/a", "x/y")] == [
        pytest.approx(1 - found["d/b"]["foreign_neighbours_normal"]),
        1,
    ]
