"""Run a backbone over images and store its maps.

Every pass takes exactly `batch_size` images, the last one padded with black ones: an image's features do not depend
on the images around it, on their number, on the number of threads, or on who decodes them.

Tested in tests/features/test_extraction.py; measured in benchmarks/extraction.py.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patchshift.data.images import raise_all
from patchshift.errors import UserError
from patchshift.features.backbones import build_backbone
from patchshift.features.decoding import Batch, ImageBatches, count_workers, decode_in_processes
from patchshift.features.devices import Maps, choose_device, describe_device
from patchshift.features.forward import ForwardPass, map_batches
from patchshift.features.shards import Shard
from patchshift.features.store import FeatureWriter
from patchshift.plan.backbone_specs import NO_FEATURES, NO_WEIGHTS, RANDOM, BackboneSpec
from patchshift.runtime.files import atomic_path
from patchshift.runtime.pace import Pace
from patchshift.runtime.provenance import describe

log = logging.getLogger(__name__)


class Extractor:
    """A backbone, loaded once, that makes feature stores.

    Args:
        spec: the backbone.
        weights_dir: folder of weight files.
        device: `auto`, `cpu` or `cuda`.
        num_workers: processes that decode images; None: `decoding.count_workers` says.

    Raises:
        UserError: if the backbone cannot be built, or the device is not there or too small.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        *,
        weights_dir: Path | None = None,
        device: str = "auto",
        num_workers: int | None = None,
    ) -> None:
        chosen = choose_device(device)
        self.spec, self.weights_dir = spec, weights_dir
        self.forward = ForwardPass(
            build_backbone(spec, weights_dir=weights_dir), chosen, spec.precision, spec.batch_size
        )
        self.workers = count_workers(num_workers, chosen)

    @property
    def provenance(self) -> dict[str, str]:
        """What a store says of how it was made, beside the spec: the kind of device, and the precision there."""
        return {"device": describe_device(self.forward.device), "precision": self.forward.precision}

    def describe(self, version: str) -> dict[str, Any]:
        """Provenance of the stores that it makes, but for their images; reads the weight file, so ask once.

        Args:
            version: of stage `extract_features`.
        """
        named = self.weights_dir is not None and self.spec.weights not in (NO_WEIGHTS, RANDOM)
        return describe(
            "extract_features",
            version=version,
            spec=self.spec.canonical(exclude=NO_FEATURES),
            inputs={"weights": self.weights_dir / self.spec.weights} if self.weights_dir and named else {},
            **self.provenance,
        )

    def extract(
        self,
        images: Mapping[str, Path],
        destination: Path,
        *,
        digests: Mapping[str, str] | None = None,
        provenance: Mapping[str, Any],
        shard: Shard | None = None,
    ) -> None:
        """Write the feature store of some images, in their order.

        Args:
            images: image key -> file.
            destination: feature store to create (`features.store`).
            digests: image key -> SHA-256 that its file must have; None: not checked.
            provenance: JSON-ready description of spec and inputs, stored as an attribute.
            shard: of which these are the images, maybe none; None: the store is whole.

        Raises:
            UserError: if there are no images, features are not finite, memory is short, or images cannot be used; then
                one message lists them all. No store is left behind.
        """
        if not images and shard is None:
            raise UserError(f"{destination}: there are no images to extract features from")
        files = [(path, digests[key] if digests else None) for key, path in images.items()]
        batches = ImageBatches(files, self.spec.batch_size, self.spec.input_size)
        mistakes: list[str] = []
        with (
            Pace(str(destination), len(files)) as pace,
            atomic_path(destination) as partial,
            self._compute(batches, mistakes) as results,
            FeatureWriter(
                partial, list(images), self.spec.input_size, provenance, shard.description if shard else None
            ) as writer,
        ):
            for count, maps in results:
                if not mistakes:
                    writer.write(pace.done, maps)
                    pace.report(pace.done + count)
            raise_all(sorted(mistakes))
            used = (describe_device(self.forward.device), self.forward.precision, self.forward.batch_size)
            log.info("%s: on %s, %s, %d images per pass", destination, *used)

    @contextmanager
    def _compute(self, batches: ImageBatches, mistakes: list[str]) -> Iterator[Iterator[tuple[int, Maps]]]:
        """Number and maps of images, in order; what is wrong with files is added to the mistakes.

        Once an image is bad there will be no store: the other files are read only to name all the bad ones.
        """
        threads, on_cpu = self.spec.threads, self.forward.device.type == "cpu"
        if not len(batches):  # of a shard without images
            yield iter(())
            return

        def compute(batch: Batch) -> tuple[int, Maps]:
            mistakes.extend(batch.mistakes)
            return batch.count, {} if mistakes else self.forward.on_cpu(batch)

        def decode(index: int) -> Batch:
            return batches[index] if on_cpu else batches[index].pin_memory()

        if on_cpu and not self.workers:
            with map_batches(lambda index: compute(decode(index)), range(len(batches)), threads) as results:
                yield results
            return
        with (
            decode_in_processes(batches, self.workers, pin_memory=not on_cpu)
            if self.workers
            else map_batches(decode, range(len(batches)), threads)
        ) as decoded:
            if on_cpu:
                with map_batches(compute, decoded, threads) as results:
                    yield results
            else:
                yield self.forward.on_device(_without_mistakes(decoded, mistakes))


def _without_mistakes(batches: Iterable[Batch], mistakes: list[str]) -> Iterator[Batch]:
    """The batches up to the first bad image; what is wrong with files is added to the mistakes."""
    for batch in batches:
        mistakes.extend(batch.mistakes)
        if not mistakes:
            yield batch
