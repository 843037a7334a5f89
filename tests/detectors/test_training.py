from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data.index import ImageRow, add_digests, write_index
from patchshift.data.packs import write_pack
from patchshift.data.splits import Split, write_split
from patchshift.detectors.training import open_training
from patchshift.errors import UserError
from patchshift.features.store import FeatureWriter

PARTS = {"0": "train", "1": "val", "2": "test", "3": "train", "4": "train", "5": "test", "6": "val", "7": "unused"}
SPLIT = Split(PARTS, anomalous=frozenset("456"), contaminants=frozenset("3"))  # 4 is a positive, 3 a contaminant


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_split(Path("one.csv"), SPLIT)
    write_split(Path("two.csv"), Split({"8": "train", "9": "train", "2": "train", "0": "test"}, frozenset("9")))


def features(name: str, keys: list[str] | Mapping[str, str], device: str = "cpu") -> Path:
    path = Path(f"{name}.h5")
    with FeatureWriter(path, list(keys), (8, 8), {"device": device, "precision": "float32"}) as writer:
        writer.write(0, {"layer": np.zeros((len(keys), 2, 2, 3), np.float16)})
    return path


def index(name: str, split: Split, same: tuple[str, ...] = ()) -> Path:
    """An index of a split's images, each of other content but for those of `same`."""
    path = Path(f"{name}_index.csv")
    rows = [
        ImageRow(
            key, "", "", int(key in split.anomalous | split.contaminants), "", digest="same" if key in same else key
        )
        for key in split.parts
    ]
    write_index(path, rows)
    return path


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """A pack of images, all defective but those named."""

    def write(name: str, keys: list[str], normal: str = "") -> Path:
        Image.new("RGB", (8, 8)).save("image.png")
        Image.new("L", (8, 8), 255).save("mask.png")
        rows = [
            ImageRow("image.png", "" if key in normal else "mask.png", "", int(key not in normal), "spot", key)
            for key in keys
        ]
        write_pack(Path(f"{name}_pack.h5"), add_digests(rows, tmp_path), tmp_path, {})
        return Path(f"{name}_pack.h5")

    return write


def test_a_detector_is_fitted_on_good_training_images_and_contaminants_of_every_member(stack: ExitStack) -> None:
    training = open_training(
        stack,
        members=["d/one", "d/two"],
        features=[features("one", PARTS), features("two", ["0", "2", "8", "9"])],
        splits=[Path("one.csv"), Path("two.csv")],
    )
    assert training.features.images == ["0", "3", "8", "2"]
    assert (training.members, training.member_of.tolist()) == (["d/one", "d/two"], [0, 0, 1, 1])
    assert training.positives == []


def test_turned_images_are_those_of_their_members_training_images(stack: ExitStack) -> None:
    turns = [f"{key}#turn90" for key in PARTS]
    training = open_training(
        stack,
        members=["d/one", "d/two"],
        features=[features("one", PARTS), features("two", ["0", "2", "8", "9"])],
        splits=[Path("one.csv"), Path("two.csv")],
        turned=[
            features("one_quarter", turns),
            features("one_half", ["0#turn180", "2#turn180"]),
            features("two_quarter", ["0#turn90", "2#turn90", "8#turn90", "9#turn90"]),
            features("two_half", ["2#turn180"]),
        ],
    )
    turned = dict(zip(training.features.images[4:], training.member_of[4:].tolist(), strict=True))
    # image 0 trains in one and is tested in two, image 2 the other way round
    assert turned == {"0#turn90": 0, "3#turn90": 0, "0#turn180": 0, "2#turn90": 1, "8#turn90": 1, "2#turn180": 1}


def test_positives_are_known_defects_of_the_training_part_and_made_ones(
    stack: ExitStack, pack: Callable[..., Path]
) -> None:
    crops = ["4#crop0", "4#crop0copy0", "mine.png#own"]
    training = open_training(
        stack,
        members=["d/one"],
        features=[features("one", PARTS)],
        splits=[Path("one.csv")],
        packs=[pack("one", list(PARTS))],
        indexes=[index("one", SPLIT)],
        positives=[features("crops", crops), features("made", ["0#perlin0", "3#perlin0"])],
        positive_packs=[pack("crops", crops), pack("made", ["0#perlin0", "3#perlin0"], normal="3#perlin0")],
    )
    assert [each.features.images for each in training.positives] == [["4"], crops, ["0#perlin0"]]
    assert [each.pack.name for each in training.positives] == ["one_pack.h5", "crops_pack.h5", "made_pack.h5"]
    assert training.features.images == ["0", "3"]


def test_a_split_without_training_defects_gives_no_positives(stack: ExitStack, pack: Callable[..., Path]) -> None:
    none = Split({"0": "train", "5": "test", "6": "val"}, frozenset("56"))
    write_split(Path("none.csv"), none)
    training = open_training(
        stack,
        members=["d/one"],
        features=[features("one", PARTS)],
        splits=[Path("none.csv")],
        packs=[pack("one", list(PARTS))],
        indexes=[index("none", none)],
    )
    assert training.positives == []


def test_a_training_defect_with_the_content_of_a_test_image_is_no_positive(
    stack: ExitStack, pack: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    split = Split({"0": "train", "1": "train", "2": "train", "3": "val", "5": "test"}, frozenset("1235"))
    write_split(Path("same.csv"), split)
    settings = {
        "members": ["d/one"],
        "features": [features("one", PARTS)],
        "splits": [Path("same.csv")],
        "packs": [pack("one", list(PARTS))],
    }
    (defects,) = open_training(stack, **settings, indexes=[index("same", split, ("1", "5"))]).positives
    assert defects.features.images == ["2"]
    assert "1 is left out: an image of test has the same content" in caplog.text
    (defects,) = open_training(stack, **settings, indexes=[index("same", split, ("1", "3"))]).positives
    assert defects.features.images == ["1", "2"]


@pytest.mark.parametrize(
    ("key", "part"), [("5#crop0", "test"), ("2#perlin0", "test"), ("1#perlin0", "val"), ("5", "test")]
)
def test_defects_made_from_images_that_do_not_train_are_refused(
    stack: ExitStack, pack: Callable[..., Path], key: str, part: str
) -> None:
    with pytest.raises(UserError, match=rf"made_pack\.h5 holds defects of images that do not train: {key} \({part}\)"):
        open_training(
            stack,
            members=["d/one"],
            features=[features("one", PARTS)],
            splits=[Path("one.csv")],
            positives=[features("made", ["0#perlin0", key])],
            positive_packs=[pack("made", ["0#perlin0", key])],
        )


def test_a_made_defect_of_a_pool_is_held_against_the_split_of_its_own_member(
    stack: ExitStack, pack: Callable[..., Path]
) -> None:
    settings = {
        "members": ["d/one", "d/two"],
        "features": [features("one", PARTS), features("two", ["0", "2", "8", "9"])],
        "splits": [Path("one.csv"), Path("two.csv")],
    }
    stores = [features("first", ["0#crop0"]), features("second", ["2#crop0"])]
    packs = [pack("first", ["0#crop0"]), pack("second", ["2#crop0"])]
    assert len(open_training(stack, **settings, positives=stores, positive_packs=packs).positives) == 2
    with pytest.raises(UserError, match=r"second_pack\.h5 holds .* 2#crop0 \(test\)"):
        open_training(stack, **settings, positives=stores[::-1], positive_packs=packs[::-1])


def test_defects_extracted_on_another_device_are_told_of_in_the_log(
    stack: ExitStack, pack: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    open_training(
        stack,
        members=["d/one"],
        features=[features("one", PARTS)],
        splits=[Path("one.csv")],
        positives=[features("made", ["0#perlin0"], device="cuda: Card")],
        positive_packs=[pack("made", ["0#perlin0"])],
    )
    assert "device 'cpu' and 'cuda: Card'" in caplog.text
