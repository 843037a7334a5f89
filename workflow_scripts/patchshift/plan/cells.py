"""One cell of a study: one bank, scored on one target, decided by one threshold; and the paths of its artifacts.

Tested in tests/plan/test_experiments.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

POOLS = "pools"  # stands where a dataset's id stands in the path of a pool's bank
CLEAN = "clean"  # the domain of images as they are


@dataclass(frozen=True)
class Target:
    """Images of one category in one domain."""

    dataset: str
    category: str
    domain: str

    @property
    def path(self) -> str:
        """`{dataset}/{category}/{domain}`."""
        return f"{self.dataset}/{self.category}/{self.domain}"


@dataclass(frozen=True)
class Bank:
    """A fitted detector: what it was trained on, and how; or the scores of another method in its place.

    Attributes:
        weights: what tables say of them: the backbone's weight file, `random` or `none`.
        is_fitted: False for scores of another method: no file of a bank, no features. The backbone is then but a label.
        members: of a pool, its categories in the domain trained on; empty for a category's bank.
        shards: how many jobs share the choice of its vectors; 1: the one that fits it chooses.
    """

    training: Target
    split: str
    backbone: str
    detector: str
    seed: int
    weights: str = field(default="", compare=False)
    is_fitted: bool = field(default=True, compare=False)
    members: Sequence[Target] = field(default=(), compare=False)
    shards: int = field(default=1, compare=False)

    @property
    def fitted_on(self) -> list[Target]:
        """Whose training images it was fitted on: the category, or each member of the pool."""
        return list(self.members) or [self.training]

    @property
    def path(self) -> str:
        """`{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}`."""
        return f"{self.training.path}/{self.split}/{self.backbone}/{self.detector}/seed{self.seed}"


@dataclass(frozen=True)
class NaturalShift:
    """Which alias led to a target, and from which domain."""

    alias: str
    origin: Target


@dataclass(frozen=True)
class Cell:
    """One row of an experiment.

    Attributes:
        calibration: whose validation images set the threshold: a category in a domain, or the bank's own pool in one.
    """

    bank: Bank
    target: Target
    calibration: Target
    threshold: str
    natural: NaturalShift | None = field(default=None, compare=False)

    @property
    def domain(self) -> str:
        """The domain scored, as the config calls it: an alias where one led there."""
        return self.natural.alias if self.natural else self.target.domain

    @property
    def origin(self) -> Target:
        """The target, or what the alias that led there started from."""
        return self.natural.origin if self.natural else self.target

    @property
    def calibrated_on(self) -> list[Target]:
        """The calibration, or where that is a pool each of its members."""
        if self.calibration.dataset != POOLS:
            return [self.calibration]
        return [replace(member, domain=self.calibration.domain) for member in self.bank.members]

    @property
    def metrics(self) -> str:
        """Path of the ranking metrics."""
        return f"results/metrics/{self.bank.path}/on/{self.target.path}.json"

    @property
    def scores(self) -> str:
        """Path of the scores on the target."""
        return f"results/scores/{self.bank.path}/on/{self.target.path}.h5"

    @property
    def threshold_file(self) -> str:
        """Path of the calibrated threshold."""
        return f"results/thresholds/{self.bank.path}/from/{self.calibration.path}/{self.threshold}.json"

    @property
    def decisions(self) -> str:
        """Path of the threshold metrics and per-image decisions."""
        calibration = f"from/{self.calibration.path}/{self.threshold}"
        return f"results/decisions/{self.bank.path}/on/{self.target.path}/{calibration}.json"

    @property
    def split(self) -> str:
        """Path of the target category's split."""
        return f"results/splits/{self.target.dataset}/{self.target.category}/{self.bank.split}.csv"

    @property
    def index(self) -> str:
        """Path of the target category's image index."""
        return f"results/images/{self.target.dataset}/{self.target.category}.csv"

    @property
    def pack(self) -> str:
        """Path of the target's masks and thumbnails."""
        return f"results/packs/{self.target.path}.h5"

    @property
    def artifacts(self) -> list[str]:
        """Paths of all that its results come from, but for what a bank or a threshold takes beside normal images."""
        scored = list(dict.fromkeys([self.target, *self.calibrated_on]))
        seen = dict.fromkeys([*scored, *self.bank.fitted_on])
        fitted = [
            *(f"results/features/{each.path}/{self.bank.backbone}.h5" for each in seen),
            f"results/banks/{self.bank.path}.h5",
        ]
        return [
            *(fitted if self.bank.is_fitted else []),
            *(f"results/scores/{self.bank.path}/on/{each.path}.h5" for each in scored),
            self.threshold_file,
            self.pack,
            self.metrics,
            self.decisions,
        ]
