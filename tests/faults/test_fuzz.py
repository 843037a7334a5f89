"""What is read may be anything: it is understood, or refused in one message. Never another error, never code, never a
write outside the folder. The same examples in every run; a few seconds for each reader.

Archives byte by byte in tests/data/test_archives.py; every value of a config in tests/plan/test_checking.py.
"""

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from patchshift.data.adapters.lists import read_lines
from patchshift.data.archives import ArchiveRefused, extract
from patchshift.data.images import read_image, read_mask
from patchshift.data.index import read_index
from patchshift.data.packs import Pack
from patchshift.data.splits import read_split
from patchshift.detectors.bank import Bank
from patchshift.detectors.external import read_map
from patchshift.detectors.scores import read_scores
from patchshift.errors import UserError
from patchshift.evaluation.calibrated import read_calibration
from patchshift.features.store import FeatureStore
from patchshift.plan import load_study, read_yaml
from patchshift.runtime.files import read_json
from patchshift.runtime.provenance import read_provenance
from patchshift.runtime.sealed import SEAL_BYTES, seal

PLACE = "tiny/weave/clean/tiny_split/tiny_scattering/tiny_patchcore/seed0"
BOUNDED = settings(
    max_examples=int(os.environ.get("PATCHSHIFT_FUZZ", "60")),
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a failure is shown as found: shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

Read = Callable[[Path], Any]


def read_features(path: Path) -> None:
    with FeatureStore(path) as store:
        for layer in store.layer_shapes:
            store.read(layer, np.arange(len(store.images)))


def read_pack(path: Path) -> None:
    with Pack(path) as pack:
        for row in range(len(pack.images)):
            pack.mask(row), pack.ignore(row), pack.thumbnail(row)


ARTIFACTS: dict[str, tuple[str, Read]] = {
    "features": ("results/features/tiny/weave/clean/tiny_scattering.h5", read_features),
    "bank": (f"results/banks/{PLACE}.h5", Bank.load),
    "scores": (f"results/scores/{PLACE}/on/tiny/weave/clean.h5", read_scores),
    "pack": ("results/packs/tiny/weave/clean.h5", read_pack),
    "threshold": (f"results/thresholds/{PLACE}/from/tiny/weave/clean/tiny_quantile.json", read_calibration),
    "metrics": (f"results/metrics/{PLACE}/on/tiny/weave/clean.json", read_json),
    "decisions": (
        f"results/decisions/{PLACE}/on/tiny/weave/clean/from/tiny/weave/clean/tiny_quantile.json",
        read_json,
    ),
    "index": ("results/images/tiny/weave.csv", read_index),
    "split": ("results/splits/tiny/weave/tiny_split.csv", read_split),
    "image": ("results/datasets/tiny/weave/train/good/000.png", read_image),
    "mask": ("results/datasets/tiny/weave/train/good/000.png", read_mask),
    "config": ("config.yaml", read_yaml),
    "list": ("results/images/tiny/weave.csv", lambda path: read_lines(path, ["image"])),
}
"""Kind -> one of the study, and who reads it."""

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["change", "insert", "cut", "repeat", "truncate"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def edit(content: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """Content that was damaged in some places."""
    for kind, place, new in edits:
        at = int(place * len(content))
        if kind == "change":
            content = content[:at] + new + content[at + len(new) :]
        elif kind == "insert":
            content = content[:at] + new + content[at:]
        elif kind == "cut":
            content = content[:at] + content[at + 16 * len(new) :]
        elif kind == "repeat":
            content = content[: at + 64] + content[at:]
        else:
            content = content[:at]
    return content


@pytest.fixture(params=ARTIFACTS)
def original(request: pytest.FixtureRequest, finished_tiny: Any) -> tuple[str, bytes, Read]:
    path, read = ARTIFACTS[request.param]
    return Path(path).suffix, (finished_tiny.folder / path).read_bytes(), read


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An inner folder; whatever is read, nothing comes to be beside it."""
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    yield inner
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


@BOUNDED
@given(edits=EDITS)
def test_a_damaged_file_is_read_or_refused_in_words(
    original: tuple[str, bytes, Read], room: Path, edits: list[tuple[str, float, bytes]]
) -> None:
    suffix, content, read = original
    path = room / f"artifact{suffix}"
    edited = edit(content, edits)
    path.write_bytes(edited)
    changed = edited != content and edited.endswith(content[-SEAL_BYTES:])  # with its seal: some are read without one
    with pytest.raises(UserError) if suffix == ".h5" and changed else suppress(UserError):
        read(path)
    assert list(room.iterdir()) == [path]


@BOUNDED
@given(
    content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
)
def test_a_file_of_anything_is_refused_in_words(original: tuple[str, bytes, Read], room: Path, content: bytes) -> None:
    suffix, _, read = original
    path = room / f"artifact{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError) if suffix == ".h5" else suppress(UserError):  # some text is a table, or JSON
        read(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = ("study", "question", "add", "select", "experiments", "evaluation", "analysis", "pools", "aliases", "data_dir")


@settings(BOUNDED, max_examples=15)
@given(content=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6))
def test_a_config_of_anything_is_refused_in_words(room: Path, finished_tiny: Any, content: dict[str, Any]) -> None:
    study = yaml.safe_load((finished_tiny.folder / "config.yaml").read_text())
    with suppress(UserError):
        load_study({**study, **content, "catalog": str(finished_tiny.folder / "configs/catalog.yaml")}, "study.yaml")


class Bomb:
    """Unpickled, it makes a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def make_archive(packing: str) -> bytes:
    stream, random = io.BytesIO(), Random(0)
    files = {f"bolt/test/{number}.png": random.randbytes(200) for number in range(3)}
    if packing == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files.items():
                packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # dated as ever
    else:
        with tarfile.open(fileobj=stream, mode=f"w:{packing}") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("packing", ["zip", "", "gz", "xz", "bz2"])
@BOUNDED
@given(edits=EDITS)
def test_a_damaged_archive_is_unpacked_inside_its_folder_or_refused(
    packing: str, room: Path, edits: list[tuple[str, float, bytes]]
) -> None:
    archive, folder = room / "archive", room / "unpacked"
    archive.write_bytes(edit(make_archive(packing), edits))
    with suppress(ArchiveRefused, UserError):
        extract(archive, folder, limit_bytes=10**6)
    assert {path.name for path in room.iterdir()} <= {"archive", "unpacked"}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        path.unlink()


def test_a_pickle_in_place_of_any_file_is_refused_and_never_loaded(
    original: tuple[str, bytes, Read], room: Path
) -> None:
    suffix, _, read = original
    path = room / f"artifact{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError):
        read(path)
    assert list(room.iterdir()) == [path]


def test_an_array_of_objects_is_refused_and_never_loaded(room: Path) -> None:
    path = room / "map.npy"
    np.save(path, np.array([[Bomb()]], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"map\.npy: is no whole \.npy file of numbers"):
        read_map(path)
    assert list(room.iterdir()) == [path]


def test_a_pickle_inside_an_hdf5_file_stays_bytes(room: Path, finished_tiny: Any) -> None:
    path = room / "scores.h5"
    path.write_bytes((finished_tiny.folder / ARTIFACTS["scores"][0]).read_bytes()[:-SEAL_BYTES])
    with h5py.File(path, "r+") as file:
        file.attrs["provenance"] = np.void(pickle.dumps(Bomb()))
    seal(path)
    with pytest.raises(UserError):
        read_scores(path)
    assert list(room.iterdir()) == [path]


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F"]


@BOUNDED
@given(
    mode=st.sampled_from(MODES),
    form=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF", "GIF"]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    edits=EDITS,
)
def test_a_damaged_picture_of_any_kind_is_read_or_refused(
    room: Path, mode: str, form: str, size: tuple[int, int], edits: list[tuple[str, float, bytes]]
) -> None:
    stream = io.BytesIO()
    try:
        Image.new(mode, size).save(stream, form)
    except (OSError, ValueError):  # there is no such picture
        return
    path = room / "picture"
    path.write_bytes(edit(stream.getvalue(), edits))
    for read in (read_image, read_mask):
        with suppress(UserError):
            assert read(path).ndim in (2, 3)


UNSEALED = ("features", "scores", "pack")


@pytest.mark.parametrize("kind", UNSEALED)
@BOUNDED
@given(edits=EDITS)
def test_hdf5_of_a_version_without_seals_is_read_or_refused_in_words(
    kind: str, room: Path, finished_tiny: Any, edits: list[tuple[str, float, bytes]]
) -> None:
    name, read = ARTIFACTS[kind]
    path = room / "artifact.h5"
    path.write_bytes(edit((finished_tiny.folder / name).read_bytes()[:-SEAL_BYTES], edits))
    for reader in (read, read_provenance):
        with suppress(UserError):
            reader(path)
