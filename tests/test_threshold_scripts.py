"""What makes thresholds and probabilities cannot see a test image: whatever becomes of these, it writes the same."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import write_pack
from patchshift.data.splits import Split, write_split
from patchshift.detectors.scores import Scores, write_scores
from patchshift.plan.score_specs import ScoringSpec
from patchshift.plan.threshold_specs import PolicyName, ThresholdSpec
from patchshift.runtime import threads
from patchshift.runtime.files import read_json

SIDE, GRID = 12, 4  # pixels of an image, patches of a map: both squares
COUNTS = {"train": (3, 0), "val": (20, 6), "test": (7, 5), "unused": (1, 1)}
"""Part -> its normal and anomalous images."""
SETTINGS: dict[str, dict[str, Any]] = {
    "normal_quantile": {"quantile": 0.9},
    "mean_std": {"deviations": 3},
    "conformal": {"false_alarm_rate": 0.1},
    "evt": {"false_alarm_rate": 0.05, "tail_share": 0.5},
    "cost": {"miss_cost": 10, "false_alarm_cost": 1, "prevalence": 0.1},
}


@dataclass(frozen=True)
class Made:
    """One image as it is indexed, split and scored."""

    key: str
    part: str
    label: int
    score: float
    map: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint8]


@pytest.fixture(scope="module", autouse=True)
def _restored_threads() -> Iterator[None]:
    """Scripts fix the number of threads of their process, which here is that of all tests."""
    environment = dict(os.environ)
    yield
    while threads._limits:
        threads._limits.pop().restore_original_limits()
    os.environ.clear()
    os.environ.update(environment)


def draw_images() -> list[Made]:
    """Defects raise the patches that they cover, and every map is noise beside them."""
    random = np.random.default_rng(0)
    images = []
    for part, counts in COUNTS.items():
        for label, count in enumerate(counts):
            for number in range(count):
                values, mask = random.normal(5, 1, (GRID, GRID)).astype(np.float32), np.zeros((SIDE, SIDE), np.uint8)
                if label:
                    row, column = random.integers(0, GRID, 2)
                    values[row, column] += 3
                    mask[3 * row : 3 * row + 3, 3 * column : 3 * column + 3] = 255
                images.append(Made(f"{part}-{label}-{number}.png", part, label, float(values.max()), values, mask))
    return images


def write_files(folder: Path, images: list[Made], *, calibrated: bool) -> dict[str, list[Path]]:
    """Scores, pack and split of the images, and scores and pack of a defect made on each of three of part val."""
    folder.mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(folder / "image.png")
    write_split(
        folder / "split.csv", Split({i.key: i.part for i in images}, frozenset(i.key for i in images if i.label))
    )
    made = [replace(i, key=f"{i.key}#spot", label=1, score=i.score + 1) for i in images if i.part == "val"][:3]
    made = [replace(i, mask=np.pad(np.full((2, 2), 255, np.uint8), 5)) for i in made]
    for name, group in (("", images), ("defects_", made)):
        rows = []
        for number, image in enumerate(group):
            mask = f"{name}{number}.png" if image.label else ""
            if mask:
                Image.fromarray(image.mask).save(folder / mask)
            rows.append(ImageRow("image.png", mask, "", image.label, "spot" if image.label else "", image.key))
        write_pack(folder / f"{name}pack.h5", add_digests(rows, folder), folder, {})
        maps = np.array([image.map for image in group])
        parts = {"negative": np.exp(maps / 9), "positive": np.exp(-maps / 9)} if calibrated else {}
        scoring = ScoringSpec(combination="calibrated") if calibrated else ScoringSpec()
        scores = Scores(np.array([i.score for i in group], np.float32), maps, parts, scoring=scoring)
        write_scores(folder / f"{name}scores.h5", scores, [i.key for i in group], (SIDE, SIDE), {})
    files = ("scores", "pack", "defects_scores", "defects_pack")
    return {name: [folder / f"{name}.h5"] for name in files} | {"split": [folder / "split.csv"]}


def calibrate(files: dict[str, list[Path]], spec: ThresholdSpec) -> str:
    """All that the script writes but the digests of its inputs, as text."""
    threshold = files["split"][0].with_name("threshold.json")
    arguments = ["--spec", spec.canonical(), "--stage", "1", "--smoothing-sigma", "1", "--threshold", str(threshold)]
    for name, paths in files.items():
        if spec.defects_from or not name.startswith("defects"):
            arguments += [f"--{name.replace('_', '-')}", *map(str, paths)]
    import_module("calibrate_threshold").main(arguments)
    content = read_json(threshold)
    assert set(content.pop("provenance")["inputs"]) <= set(files)
    return json.dumps(content)


def change_everything(image: Made) -> Made:
    """Another label, score, map and mask."""
    mask = np.zeros_like(image.mask) if image.label else np.full_like(image.mask, 255)
    return replace(image, label=1 - image.label, score=99 - image.score, map=99 - image.map, mask=mask)


def spoil(image: Made) -> Made:
    """Nothing is a number."""
    return replace(image, score=np.nan, map=np.full_like(image.map, np.nan))


def turn_round(image: Made) -> Made:
    """The lower, the more anomalous."""
    return replace(image, score=-image.score, map=-image.map)


SPECS = [
    *(ThresholdSpec.model_validate({"policy": name, **SETTINGS.get(name, {})}) for name in get_args(PolicyName)),
    ThresholdSpec.model_validate(
        {
            "policy": "f1_max",
            "pixels": {"policy": "f1_max"},
            "zones": {"rows": 2, "columns": 2},
            "defects_from": "made",
        }
    ),
    ThresholdSpec.model_validate({"policy": "max_normal", "pixels": {"policy": "normal_quantile", "quantile": 0.99}}),
]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "calibrated dual bank"])
def worlds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same validation images, with test images (and those of no use) as they are, changed, spoilt and gone."""
    folder, images = tmp_path_factory.mktemp("worlds"), draw_images()

    def write(name: str, change: Callable[[Made], Made | None], parts: tuple[str, ...]) -> dict[str, list[Path]]:
        changed = [change(image) if image.part in parts else image for image in images]
        return write_files(folder / name, [image for image in changed if image], calibrated=request.param)

    others = ("train", "test", "unused")
    return {
        "as they are": write("same", lambda image: image, ()),
        "changed": write("changed", change_everything, others),
        "spoilt": write("spoilt", spoil, others),
        "gone": write("gone", lambda _: None, others),
        "validation changed": write(
            "other", lambda image: replace(image, score=-image.score, map=-image.map), ("val",)
        ),
    }


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.policy + "+" * (spec.pixels is not None))
def test_whatever_becomes_of_test_images_the_threshold_file_is_the_same(
    worlds: dict[str, Any], spec: ThresholdSpec
) -> None:
    expected = calibrate(worlds["as they are"], spec)
    content = json.loads(expected)
    assert content["threshold"] is not None
    assert content["probabilities"]["undefined"] is None
    assert (content["normal"], content["anomalous"]) == (20, 9 if spec.defects_from else 6)
    for part in ("pixels", "zones"):
        assert (content[part] is None) == (getattr(spec, part) is None)
    for world in ("changed", "spoilt", "gone"):
        assert calibrate(worlds[world], spec) == expected, world
    assert calibrate(worlds["validation changed"], spec) != expected


def test_the_files_that_are_compared_do_differ(worlds: dict[str, Any]) -> None:
    contents = [
        [path.read_bytes() for paths in files.values() for path in paths if not path.name.startswith("defects")]
        for files in worlds.values()
    ]
    scores, packs = ([each[number] for each in contents] for number in (0, 1))
    assert len(set(scores)) == len(worlds)
    assert len(set(packs)) >= 3  # labels and masks: as they are, changed, gone
