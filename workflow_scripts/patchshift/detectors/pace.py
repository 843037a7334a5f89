"""What scoring took, as one line of a log: its form, and how it is read back. Times never enter results.

Tested in tests/detectors/test_pace.py.
"""

import logging
import re
from dataclasses import dataclass

_LINE = re.compile(
    r"scored (?P<images>\d+) images: (?P<embedding>\d+\.\d+) s reading and embedding, "
    r"(?P<searching>\d+\.\d+) s searching and scoring"
)

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)  # whatever the config's `log_level`: costs.csv and timings.csv read this line


@dataclass(frozen=True)
class ScoringPace:
    """What scoring took, without start-up.

    Attributes:
        images: how many were scored.
        embedding_seconds: reading layer maps and turning them into patch embeddings.
        searching_seconds: searching the nearest bank vectors and turning their distances into scores.
    """

    images: int
    embedding_seconds: float
    searching_seconds: float

    def describe(self) -> str:
        """The line for the log."""
        return (
            f"scored {self.images} images: {self.embedding_seconds:.4f} s reading and embedding, "
            f"{self.searching_seconds:.4f} s searching and scoring"
        )

    def report(self) -> None:
        """Log it."""
        log.info(self.describe())


def read_pace(log: str) -> ScoringPace | None:
    """What the last such line of a log says; None where it has none."""
    lines = list(_LINE.finditer(log))
    if not lines:
        return None
    last = lines[-1]
    return ScoringPace(int(last["images"]), float(last["embedding"]), float(last["searching"]))
