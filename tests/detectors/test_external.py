from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data.index import ImageRow
from patchshift.detectors.external import ExternalScores, read_external, read_map
from patchshift.errors import UserError

ROWS = [ImageRow(f"test/{name}.png", "", "test", 0, "") for name in "abcd"]
WANTED = ["test/c.png", "test/a.png"]  # in an order of their own
SHAPE = (3, 4)

Write = Callable[..., Path]
Read = Callable[..., ExternalScores]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a table of these lines below its header."""

    def write(*lines: str, columns: str = "image,score") -> Path:
        (tmp_path / "scores").mkdir(exist_ok=True)
        path = tmp_path / "scores" / "clean.csv"
        path.write_text("\n".join([columns, *lines]) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def read(write: Write, tmp_path: Path) -> Read:
    """Read a table of these lines."""

    def read(*lines: str, columns: str = "image,score", wanted: list[str] = WANTED) -> ExternalScores:
        return read_external(write(*lines, columns=columns), ROWS, tmp_path / "images", wanted)

    return read


@pytest.fixture
def save_maps(tmp_path: Path) -> Callable[..., dict[str, np.ndarray]]:
    """Save maps of their own for some images, as `maps/{name}.npy` below the table's folder."""

    def save(*names: str, shape: tuple[int, ...] = SHAPE) -> dict[str, np.ndarray]:
        folder = tmp_path / "scores" / "maps"
        folder.mkdir(parents=True, exist_ok=True)
        maps = {name: np.random.default_rng(ord(name)).normal(size=shape).astype(np.float32) for name in names}
        for name, values in maps.items():
            np.save(folder / f"{name}.npy", values)
        return maps

    return save


def test_scores_stand_in_the_order_of_the_images_asked_for(read: Read) -> None:
    external = read("test/a.png,1", "test/b.png,2", "test/c.png,3.5")
    assert external.images == WANTED
    assert external.scores.image_scores.tolist() == [3.5, 1]
    assert external.scores.image_scores.dtype == np.float32


def test_without_maps_there_are_none_and_no_facts(read: Read) -> None:
    external = read("test/a.png,1", "test/c.png,3.5")
    assert external.scores.maps.shape == (2, 0, 0)
    assert (external.input_size, external.map_files) == ((0, 0), [])
    assert (external.scores.parts, external.scores.facts, external.scores.members) == ({}, {}, ())


def test_an_image_is_named_by_its_key_or_by_its_path_from_anywhere(tmp_path: Path, write: Write) -> None:
    made = [ImageRow("made/7.png", "", "", 0, "", source="test/a.png"), ImageRow("made/8.png", "", "", 0, "")]
    root = tmp_path / "images"
    for name in ("test/a.png", "made/7.png", str(root / "made/7.png")):
        external = read_external(write(f"{name},1", "made/8.png,2"), made, root, ["test/a.png", "made/8.png"])
        assert external.scores.image_scores.tolist() == [1, 2]


def test_a_path_from_the_working_folder_names_an_image(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    external = read_external(write("./data/test/a.png,1"), ROWS, Path("data"), ["test/a.png"])
    assert external.scores.image_scores.tolist() == [1]


def test_maps_are_kept_as_they_were_written(read: Read, save_maps: Callable[..., dict[str, np.ndarray]]) -> None:
    maps = save_maps("a", "c")
    external = read("test/a.png,1,maps/a.npy", "test/c.png,3,maps/c.npy", columns="image,score,map")
    assert np.array_equal(external.scores.maps, [maps["c"], maps["a"]])
    assert [path.name for path in external.map_files] == ["c.npy", "a.npy"]


@pytest.mark.parametrize(
    ("shape", "input_size"), [((28, 28), (224, 224)), ((3, 4), (225, 300)), ((256, 300), (256, 300))]
)
def test_patch_maps_lie_on_an_input_of_whole_pixels_and_fine_maps_on_themselves(
    read: Read, save_maps: Callable[..., dict[str, np.ndarray]], shape: tuple[int, int], input_size: tuple[int, int]
) -> None:
    save_maps("a", shape=shape)
    external = read("test/a.png,1,maps/a.npy", columns="image,score,map", wanted=["test/a.png"])
    assert external.input_size == input_size


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("m.png", np.array([[0, 7], [200, 255]], np.uint8)),
        ("m.png", np.array([[0, 7], [30000, 65535]], np.uint16)),
        ("m.tiff", np.array([[0, 7], [30000, 65535]], np.uint16)),
        ("m.tif", np.array([[-1.5, 1e-7], [0.25, 3e9]], np.float32)),
        ("m.npy", np.array([[-1.5, 1e-7], [0.25, 3e9]], np.float64)),
        ("m.npy", np.array([[-1, 2], [3, 4]], np.int16)),
    ],
)
def test_maps_of_every_kind_keep_their_values(tmp_path: Path, name: str, pixels: np.ndarray) -> None:
    path = tmp_path / name
    np.save(path, pixels) if name.endswith("npy") else Image.fromarray(pixels).save(path)
    values = read_map(path)
    assert values.dtype == np.float32
    assert np.array_equal(values, pixels.astype(np.float32))


def test_rows_of_images_that_are_not_asked_for_need_not_be_right(read: Read) -> None:
    assert read("test/a.png,1", "test/c.png,2", "test/b.png,inf").scores.image_scores.tolist() == [2, 1]


def test_unknown_images_are_counted_and_ignored(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    read("test/a.png,1", "test/c.png,2", "other/x.png,3", "other/y.png,4")
    assert "2 rows are ignored" in caplog.text


def test_columns_that_mean_nothing_are_named(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    read("test/a.png,1,0", "test/c.png,2,1", columns="image,score,label")
    assert "columns label are not used" in caplog.text


def test_ignored_regions_are_said_not_to_change_image_scores(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [ImageRow("a.png", "", "", 0, "", ignore="ignore.png"), ImageRow("b.png", "", "", 0, "")]
    read_external(write("a.png,1", "b.png,2"), rows, tmp_path, ["b.png"])
    assert "ignored regions" not in caplog.text
    external = read_external(write("a.png,1", "b.png,2"), rows, tmp_path, ["a.png"])
    assert external.scores.image_scores.tolist() == [1]
    assert "1 images have ignored regions" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["test/c.png,1"], r"has no score of test/a\.png \(1 in all\): add a row for each validation and test image"),
        (["test/a.png,1", "test/c.png,high"], "line 3: score 'high' is neither a finite number nor nan"),
        (["test/a.png,inf", "test/c.png,1"], "line 2: score 'inf' is neither a finite number nor nan"),
        (["test/a.png,inf", "test/c.png,"], "2 mistakes:\n  line 2: score 'inf' .*\n  line 3: score '' is neither"),
        (["test/a.png,1e300", "test/c.png,1"], "line 2: score '1e300' is neither a finite number nor nan"),
        (["test/a.png,1", "test/c.png,2", "test/a.png,1"], "line 4: image 'test/a.png' stands in line 2 already"),
        (["test/a.png,1,5", "test/c.png,2"], "line 2: 3 values for 2 columns"),
    ],
)
def test_wrong_tables_are_refused_with_their_lines(read: Read, lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(*lines)


def test_a_table_without_scores_is_refused(read: Read) -> None:
    with pytest.raises(UserError, match=r"clean\.csv has no column score"):
        read("test/a.png,1", columns="image,anomaly_score")


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv does not exist"):
        read_external(tmp_path / "none.csv", ROWS, tmp_path, WANTED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "line 3: map is empty, but other images have one"),
        ("/etc/passwd", "line 3: map '/etc/passwd' leaves the table's folder"),
        ("maps/../../secret.npy", r"line 3: map 'maps/\.\./\.\./secret\.npy' leaves the table's folder"),
        ("maps/b.npy", "line 3: map 'maps/b.npy' does not exist under"),
        ("maps/a.exr", r"line 3: map 'maps/a\.exr' is none of \.npy, \.png, \.tif, \.tiff"),
    ],
)
def test_wrong_paths_of_maps_are_refused(
    read: Read, save_maps: Callable[..., dict[str, np.ndarray]], name: str, message: str
) -> None:
    save_maps("a")
    with pytest.raises(UserError, match=message):
        read("test/a.png,1,maps/a.npy", f"test/c.png,2,{name}", columns="image,score,map")


def test_maps_of_different_shapes_are_refused(read: Read, save_maps: Callable[..., dict[str, np.ndarray]]) -> None:
    save_maps("c")
    save_maps("a", shape=(4, 3))
    with pytest.raises(UserError, match=r"maps/a\.npy: has 4 x 3 values, but c\.npy has 3 x 4: write all maps"):
        read("test/a.png,1,maps/a.npy", "test/c.png,3,maps/c.npy", columns="image,score,map")


def save_cut(path: Path) -> None:
    np.save(path, np.zeros((50, 50)))
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        (
            "m.npy",
            lambda path: np.save(path, np.zeros((1, 3, 4))),
            r"has shape \(1, 3, 4\), a map has rows",
        ),
        ("m.npy", lambda path: np.save(path, np.zeros((0, 4))), r"has shape \(0, 4\), a map has rows and columns"),
        ("m.npy", lambda path: np.save(path, np.array([[1, np.nan]])), "no finite numbers"),
        ("m.npy", lambda path: np.save(path, np.array([[1, 1e300]])), "no finite numbers"),
        ("m.npy", lambda path: np.save(path, np.array([[1j]])), "real numbers"),
        ("m.npy", lambda path: np.save(path, np.array([[{}]]), allow_pickle=True), "no whole .npy file of numbers"),
        ("m.npy", lambda path: path.write_bytes(b""), "no whole .npy file of numbers"),
        ("m.npy", save_cut, "no whole .npy file of numbers"),
        ("m.npy", lambda path: np.savez(path.open("wb"), np.zeros((2, 2))), "does not hold one array"),
        ("m.png", lambda path: Image.new("RGB", (3, 2)).save(path), r"has colours \(mode RGB\)"),
        ("m.png", lambda path: Image.new("LA", (3, 2)).save(path), r"has colours \(mode LA\)"),
        ("m.png", lambda path: path.write_bytes(b"no image"), "not a readable image"),
    ],
)
def test_maps_that_are_no_maps_are_named(tmp_path: Path, name: str, save: Callable[[Path], None], message: str) -> None:
    save(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: .*{message}"):
        read_map(tmp_path / name)


def test_an_image_without_a_score_is_counted_and_has_none(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    scores = read("test/a.png,1", "test/c.png,NaN").scores.image_scores
    assert sorted(scores.tolist(), key=np.isnan)[0] == 1
    assert np.isnan(scores).sum() == 1
    assert "1 images have no score" in caplog.text
