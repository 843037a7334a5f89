"""Parts of a feature store, each made by a job of its own, and the whole that they are joined to.

A shard is a feature store of some consecutive images that says which shard it is. Limits of shards are
multiples of the batch size, so their passes are those of a single job; joined in its order of writing, they are its
store, byte for byte. Tested in tests/features/test_shards.py.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchshift.errors import UserError
from patchshift.features.store import FeatureStore, FeatureWriter
from patchshift.runtime.files import atomic_path
from patchshift.runtime.sealed import check_seal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """One of the parts of a store.

    Attributes:
        number: from 1.
        count: of all parts.
        version: of stage `extract_shard`.

    Raises:
        UserError: if there is no such part.
    """

    number: int
    count: int
    version: str

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UserError(f"there is no shard {self.number} of {self.count}: shards are numbered from 1")

    @property
    def description(self) -> dict[str, Any]:
        """What its file says of it, JSON-ready."""
        return {"number": self.number, "count": self.count, "version": self.version}

    def images(self, total: int, batch_size: int) -> slice:
        """Which of `total` images are its own: whole batches, as many as others have, or one more; maybe none."""
        batches = -(-total // batch_size)
        each, more = divmod(batches, self.count)
        first, stop = (each * number + min(number, more) for number in (self.number - 1, self.number))
        return slice(min(first * batch_size, total), min(stop * batch_size, total))


def merge_shards(
    paths: Sequence[Path],
    destination: Path,
    *,
    images: Sequence[str],
    batch_size: int,
    expected: Mapping[str, Any],
    version: str,
) -> None:
    """Join shards to the store that one job would have made, a batch at a time.

    Args:
        paths: of all shards, in their order.
        destination: feature store to create.
        images: the key of each image, in row order.
        batch_size: images that one job would write at a time.
        expected: what the provenance of each shard has to say; `inputs` may say more.
        version: of stage `extract_shard`.

    Raises:
        UserError: if a file is missing, not whole, of other images, or made with other settings or libraries than it
            should have been or than others were. No store is left behind.
    """
    if not images:
        raise UserError(f"{destination}: there are no images to extract features from")
    with ExitStack() as stack:
        stores = [stack.enter_context(FeatureStore(path, check=check_seal)) for path in paths]
        for number, store in enumerate(stores, 1):
            shard = Shard(number, len(stores), version)
            _check(store, shard, images[shard.images(len(images), batch_size)], expected)
        _check_they_agree(stores)
        made = stores[0].provenance | {"device": " and ".join(sorted({store.made["device"] for store in stores}))}
        with (
            atomic_path(destination) as partial,
            FeatureWriter(partial, images, stores[0].input_size, made) as writer,
        ):
            row = 0
            for store in stores:
                for first in range(0, len(store.images), batch_size):
                    stop = min(first + batch_size, len(store.images))
                    writer.write(row + first, store.copy(first, stop))
                row += len(store.images)
    log.info("%s: joined %d images of %d shards", destination, len(images), len(paths))


def _check(store: FeatureStore, shard: Shard, images: Sequence[str], expected: Mapping[str, Any]) -> None:
    """Whether a file is the shard that it should be."""
    made = store.provenance
    differs = [key for key, value in expected.items() if key != "inputs" and made.get(key) != value]
    differs += [role for role, digest in expected["inputs"].items() if made.get("inputs", {}).get(role) != digest]
    if store.shard != shard.description:
        differs.append(f"shard {store.shard}, not {shard.description}")
    if store.images != list(images):
        differs.append("images")
    if differs:
        raise UserError(
            f"{store.path} is not shard {shard.number} of {shard.count} of these features (other "
            f"{', '.join(differs)}): delete it and run again"
        )


def _check_they_agree(stores: Sequence[FeatureStore]) -> None:
    """Shards of one store may come from different devices alone, as the log then says."""
    first = stores[0]
    for store in stores[1:]:
        if {**store.provenance, "device": ""} != {**first.provenance, "device": ""}:
            differs = [key for key, value in first.provenance.items() if store.provenance.get(key) != value]
            raise UserError(
                f"{first.path} and {store.path} were made with other {', '.join(differs)}: delete both and run again"
            )
        if store.made != first.made:
            log.warning(
                "%s and %s were made on '%s' and '%s', which alone changes features a little: set `device`, so that "
                "all shards are made alike",
                *(first.path, store.path, first.made["device"], store.made["device"]),
            )
    shapes = [store.layer_shapes for store in stores if store.images]
    for store in stores:
        if store.images and (store.layer_shapes, store.input_size) != (shapes[0], first.input_size):
            raise UserError(f"{store.path} has other layers or sizes than {first.path}: delete both and run again")
