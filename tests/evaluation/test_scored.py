from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import write_pack
from patchshift.data.splits import Split, write_split
from patchshift.detectors.scores import Scores, write_scores
from patchshift.errors import UserError
from patchshift.evaluation.scored import ScoredImages

PARTS = {"0.png": "train", "1.png": "val", "2.png": "test", "3.png": "val", "4.png": "test", "5.png": "unused"}
SCORED = ["4.png", "3.png", "2.png", "1.png"]  # in an order of their own


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A split that calls 3 and 4 anomalous, a pack in which the defect of 4 left the frame, and scores."""
    rows = []
    for name in PARTS:
        Image.new("RGB", (6, 5)).save(tmp_path / name)
        rows.append(ImageRow(name, "", "", int(name == "3.png"), "crack" if name == "3.png" else ""))
    write_pack(tmp_path / "pack.h5", add_digests(rows, tmp_path), tmp_path, {})
    write_split(tmp_path / "split.csv", Split(PARTS, frozenset(["3.png", "4.png"])))
    values = np.array([4, 3, 2, 1], np.float32)
    maps = np.broadcast_to(10 * values[:, None, None], (4, 2, 3)).copy()
    write_scores(tmp_path / "scores.h5", Scores(values, maps), SCORED, (32, 48), {})
    return {name.split(".")[0]: tmp_path / name for name in ("scores.h5", "pack.h5", "split.csv")}


@pytest.mark.parametrize(("part", "images"), [("val", ["1.png", "3.png"]), ("test", ["2.png", "4.png"])])
def test_only_the_part_asked_for_is_seen(
    files: dict[str, Path], part: Literal["val", "test"], images: list[str]
) -> None:
    scored = ScoredImages.read(**files, part=part)
    assert scored.images == images
    numbers = [float(name[0]) for name in images]
    assert scored.scores.tolist() == numbers
    assert scored.maps.shape == (2, 2, 3)
    assert scored.maps[:, 0, 0].tolist() == [10 * number for number in numbers]
    assert scored.input_size == (32, 48)


def test_labels_and_defects_are_those_of_the_targets_pack_not_of_the_split(files: dict[str, Path]) -> None:
    test, validation = (ScoredImages.read(**files, part=part) for part in ("test", "val"))
    assert (test.labels.tolist(), test.defects) == ([0, 0], ["", ""])
    assert (validation.labels.tolist(), validation.defects) == ([0, 1], ["", "crack"])


def test_images_whose_defect_is_not_to_be_seen_are_known_as_relabelled(files: dict[str, Path]) -> None:
    assert ScoredImages.read(**files, part="test").relabelled.tolist() == [False, True]
    assert ScoredImages.read(**files, part="val").relabelled.tolist() == [False, False]


@pytest.fixture
def defects(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Writes scores 10, 11, ... and the pack of a domain of synthetic defects with these keys and labels."""

    def write(*keys: str, labels: Sequence[int] | None = None) -> dict[str, Path]:
        Image.new("RGB", (6, 5)).save(tmp_path / "made.png")
        numbers = labels or [1] * len(keys)
        rows = [
            ImageRow("made.png", "", "", label, "spot" if label else "", key)
            for key, label in zip(keys, numbers, strict=True)
        ]
        write_pack(tmp_path / "made.h5", add_digests(rows, tmp_path), tmp_path, {})
        values = np.arange(10, 10 + len(keys)).astype(np.float32)
        maps = np.broadcast_to(values[:, None, None], (len(keys), 2, 3)).copy()
        write_scores(tmp_path / "made_scores.h5", Scores(values, maps), keys, (32, 48), {})
        return {"scores": tmp_path / "made_scores.h5", "pack": tmp_path / "made.h5", "split": tmp_path / "split.csv"}

    return write


def test_synthetic_defects_join_the_validation_images(
    files: dict[str, Path], defects: Callable[..., dict[str, Path]]
) -> None:
    made = ScoredImages.read_defects(**defects("1.png#perlin0", "1.png#cutpaste0", "own#1.png"))
    joined = ScoredImages.read(**files, part="val").join(made)
    assert joined.images == ["1.png", "3.png", "1.png#perlin0", "1.png#cutpaste0", "own#1.png"]
    assert joined.labels.tolist() == [0, 1, 1, 1, 1]
    assert joined.scores.tolist() == [1, 3, 10, 11, 12]
    assert joined.defects == ["", "crack", "spot", "spot", "spot"]
    assert joined.maps[:, 1, 2].tolist() == [10, 30, 10, 11, 12]
    assert not joined.relabelled.any()


def test_maps_that_differ_in_size_do_not_join_and_their_scores_do(files: dict[str, Path]) -> None:
    images = ScoredImages.read(**files, part="val")
    parts = {"negative": images.maps}
    images, without = (replace(images, maps=maps, parts=parts) for maps in (images.maps, images.maps[:, :0, :0]))
    for joined in (images.join(without), without.join(images)):
        assert joined.scores.tolist() == [1, 3, 1, 3]
        assert joined.labels.tolist() == [0, 1, 0, 1]
        assert (joined.maps.shape, dict(joined.parts)) == ((4, 0, 0), {})
    assert images.join(images).parts["negative"].shape == (4, 2, 3)


@pytest.mark.parametrize(("key", "part"), [("2.png#perlin0", "test"), ("4.png", "test"), ("0.png#scar12", "train")])
def test_synthetic_defects_on_images_of_other_parts_are_refused(
    files: dict[str, Path], defects: Callable[..., dict[str, Path]], key: str, part: str
) -> None:
    with pytest.raises(UserError, match=rf"not of part val in .*split\.csv: {key} \({part}\) \(1 in all\)"):
        ScoredImages.read_defects(**defects("1.png#perlin0", key))


def test_synthetic_defects_that_are_ignored_do_not_join(
    files: dict[str, Path], defects: Callable[..., dict[str, Path]]
) -> None:
    made = defects("1.png#perlin0", "1.png#perlin1", "1.png#perlin2", labels=[1, 0, 1])
    assert ScoredImages.read_defects(**made).scores.tolist() == [10, 12]


def test_an_image_without_score_is_named(files: dict[str, Path]) -> None:
    write_split(files["split"], Split({**PARTS, "0.png": "test"}, frozenset()))
    with pytest.raises(UserError, match=r"scores\.h5 has no score of 0\.png \(1 in all\)"):
        ScoredImages.read(**files, part="test")


def test_an_image_that_is_not_in_the_pack_is_named(files: dict[str, Path]) -> None:
    names = [*SCORED, "new.png"]
    write_scores(files["scores"], Scores(np.zeros(5, np.float32), np.zeros((5, 2, 3), np.float32)), names, (32, 48), {})
    write_split(files["split"], Split({**PARTS, "new.png": "test"}, frozenset()))
    with pytest.raises(UserError, match=r"pack\.h5 lacks new\.png"):
        ScoredImages.read(**files, part="test")
