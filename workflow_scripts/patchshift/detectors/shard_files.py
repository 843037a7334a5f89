"""Files between the jobs that share the fit of a bank: what is fitted before the choice, and the picks of each shard.

Each is sealed, and says what it was made for: spec, seed, training images. Both are deleted once the bank is there.
Tested in tests/detectors/test_shard_files.py.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from patchshift.detectors.foreground import Foreground
from patchshift.detectors.prepared import Prepared
from patchshift.detectors.sharding import Sharding
from patchshift.detectors.shards import Picks
from patchshift.detectors.training import TrainingSet
from patchshift.errors import UserError
from patchshift.features.representations import Representation
from patchshift.plan.detector_specs import FittedSpec
from patchshift.runtime.files import atomic_path, digest_file
from patchshift.runtime.hdf5 import create_hdf5, open_hdf5
from patchshift.runtime.sealed import check_seal

Provenance = Mapping[str, Any]
"""What a file says of itself, JSON-ready."""


def describe_fit(spec: FittedSpec, training: TrainingSet, seed: int) -> dict[str, Any]:
    """What is to be fitted on what. The features by what their stores say of how they were made, so that no job reads
    them all for it; whether they are as they were made, `fit_detector` finds when it opens them.
    """
    digest = hashlib.sha256(json.dumps(list(training.members)).encode())
    for store, rows in training.features.parts:
        keys = [store.images[row] for row in rows.tolist()]
        digest.update(json.dumps([store.provenance, store.layer_shapes, keys], sort_keys=True).encode())
    return {"spec": json.loads(spec.fit_spec()), "seed": seed, "training": digest.hexdigest()}


def describe_prepared(fit: Provenance, version: str) -> dict[str, Any]:
    """What the file of a fit's `Prepared` says; `version` of stage `fit_representation`."""
    return {**fit, "stage": "fit_representation", "version": version}


def describe_picks(fit: Provenance, version: str, prepared: Path) -> dict[str, Any]:
    """What files of picks say beside `shard`; `version` of stage `choose_shard`, `prepared` the file that they used."""
    return {**fit, "stage": "choose_shard", "version": version, "prepared": digest_file(prepared)}


def open_shards(
    prepared: Path, picks: Sequence[Path], spec: FittedSpec, training: TrainingSet, *, seed: int, stages: Sequence[str]
) -> tuple[Prepared, Sharding]:
    """What other jobs have left for the one that fits the bank.

    Args:
        prepared: file of `Prepared`.
        picks: files of all shards, in their order.
        spec: the detector.
        training: what it is fitted on.
        seed: the detector seed.
        stages: versions of stages `fit_representation` and `choose_shard`.

    Raises:
        UserError: if a file is missing, not whole, or made for another fit or as another shard; it names the file.
    """
    fit = describe_fit(spec, training, seed)
    read = read_prepared(prepared, spec, describe_prepared(fit, stages[0]))
    return read, Sharding(len(picks), PickFiles(picks, describe_picks(fit, stages[1], prepared)).read)


def write_prepared(path: Path, prepared: Prepared, provenance: Provenance) -> None:
    """Write what shards share."""
    with _create(path, provenance) as file:
        for name, values in sorted(prepared.representation.state.items()):
            file.create_dataset(f"representation/{name}", data=values, track_times=False)
        layers = file.create_group("layers", track_order=True)
        for layer, shape in prepared.representation.layer_shapes.items():
            layers.create_dataset(layer, data=np.array(shape, np.int64), track_times=False)
        if prepared.foreground is not None and prepared.present is not None:
            for name, values in sorted(prepared.foreground.arrays().items()):
                file.create_dataset(f"foreground/{name}", data=values, track_times=False)
            file.create_dataset("present", data=prepared.present, track_times=False)


def read_prepared(path: Path, spec: FittedSpec, provenance: Provenance) -> Prepared:
    """Read what shards share.

    Args:
        path: of the file.
        spec: the detector.
        provenance: what the file has to say.

    Raises:
        UserError: if it is missing, not whole, or made for another fit.
    """
    with _open(path, provenance) as file:
        state: dict[str, Any] = {}
        if "representation" in file:
            file["representation"].visititems(
                lambda name, item: state.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None
            )
        shapes = {layer: tuple(int(size) for size in shape[:]) for layer, shape in file["layers"].items()}
        representation = Representation(spec.representation, shapes, state)  # type: ignore[arg-type]
        if "foreground" not in file:
            return Prepared(representation)
        plane = Foreground.from_arrays({name: values[()] for name, values in file["foreground"].items()})
        return Prepared(representation, plane, file["present"][:])


def write_picks(path: Path, picks: Iterable[Picks], provenance: Provenance) -> None:
    """Write what a shard has chosen for each quota; quota by quota, so that memory holds one."""
    with _create(path, provenance) as file:
        for place, (vectors, images) in enumerate(picks):
            file.create_dataset(f"{place}/vectors", data=vectors, track_times=False)
            file.create_dataset(f"{place}/images", data=images, track_times=False)


class PickFiles:
    """What all shards have chosen, read when it is asked for.

    Args:
        paths: of the files, in the order of the shards.
        provenance: what each has to say beside `shard`, its number from 1 and their count.

    Raises:
        UserError: if one is missing, not whole, or made for another fit or as another shard.
    """

    def __init__(self, paths: Sequence[Path], provenance: Provenance) -> None:
        self._files = [
            (path, {**provenance, "shard": describe_shard(number, len(paths))}) for number, path in enumerate(paths, 1)
        ]
        for path, expected in self._files:
            with _open(path, expected):
                pass

    def read(self, shard: int, place: int) -> Picks:
        """The picks of a shard (from 0) for a quota (from 0): `detectors.sharding.Sharding.read`."""
        path, expected = self._files[shard]
        with _open(path, expected) as file:
            return file[f"{place}/vectors"][:], file[f"{place}/images"][:]


def describe_shard(number: int, count: int) -> str:
    """A shard's name, as its file has it: `3of8`.

    Raises:
        UserError: if there is no such shard.
    """
    if not 1 <= number <= count:
        raise UserError(f"there is no shard {number} of {count}: shards are numbered from 1")
    return f"{number}of{count}"


@contextmanager
def _create(path: Path, provenance: Provenance) -> Iterator[h5py.File]:
    with atomic_path(path) as partial, create_hdf5(partial) as file:
        file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
        yield file


@contextmanager
def _open(path: Path, provenance: Provenance) -> Iterator[h5py.File]:
    with open_hdf5(path, "file of a shared fit", check=check_seal) as file:
        found = json.loads(file.attrs["provenance"])
        differs = [key for key, value in provenance.items() if found.get(key) != value]
        if differs:
            raise UserError(f"{path} was made for another fit (other {', '.join(differs)}): delete it and run again")
        yield file
