"""Where the shards of features and of banks lie: what several jobs make of one store, or of one bank.

`{whole without .h5}.shards/{number}of{count}.h5`, numbers from 1. Snakemake deletes them once they are joined.
Tested in tests/plan/test_sharding.py.
"""

import re
from collections.abc import Iterable, Mapping

from patchshift.plan.detector_specs import MemoryBankSpec
from patchshift.plan.stages import stage_version
from patchshift.plan.study import Study

FOLDER = ".shards/"
"""What the paths of shards have, and no others."""

NUMBER = "[1-9][0-9]*"
"""What the number of a shard looks like."""

NOTHING = "(?!)"
"""A regular expression that nothing matches."""

FEATURES = "results/features/{dataset}/{category}/{domain}/{backbone}"
BANK = "results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}"

Wildcards = Mapping[str, str]


def name_backbones(study: Study, *, sharded: bool) -> str:
    """A regular expression that matches the backbones that have shards, or those that have none."""
    found = [name for name, spec in study.catalog.backbones.items() if (spec.shards > 1) == sharded]
    return "|".join(sorted(map(re.escape, found))) or NOTHING


def name_detectors(study: Study) -> str:
    """A regular expression that matches the detectors whose banks are chosen in shards."""
    found = [name for name in study.catalog.detectors if count_bank_shards(study, name) > 1]
    return "|".join(sorted(map(re.escape, found))) or NOTHING


def match_backbone_counts(study: Study) -> str:
    """A regular expression that matches how many shards features have."""
    return _match_counts(spec.shards for spec in study.catalog.backbones.values())


def match_detector_counts(study: Study) -> str:
    """A regular expression that matches in how many shards banks are chosen."""
    return _match_counts(count_bank_shards(study, name) for name in study.catalog.detectors)


def count_bank_shards(study: Study, detector: str) -> int:
    """Jobs that share the choice of a detector's vectors; 1 where the job that fits it chooses."""
    spec = study.catalog.detectors[detector]
    return spec.shards if isinstance(spec, MemoryBankSpec) else 1


def list_feature_shards(study: Study, wildcards: Wildcards) -> list[str]:
    """The shards of a feature store, in their order."""
    return _list_shards(FEATURES.format(**wildcards), study.catalog.backbones[wildcards["backbone"]].shards)


def list_bank_shards(study: Study, wildcards: Wildcards) -> list[str]:
    """The shards of a bank, in their order; none where it is fitted by one job."""
    count = count_bank_shards(study, wildcards["detector"])
    return _list_shards(BANK.format(**wildcards), count) if count > 1 else []


def list_bank_representation(study: Study, wildcards: Wildcards) -> list[str]:
    """The file of what a bank's shards share; none where it is fitted by one job."""
    sharded = count_bank_shards(study, wildcards["detector"]) > 1
    return [f"{BANK.format(**wildcards)}{FOLDER}representation.h5"] if sharded else []


def list_shard_versions(study: Study, detector: str) -> list[str]:
    """Versions of the stages that make a bank's shards; none where it is fitted by one job."""
    sharded = count_bank_shards(study, detector) > 1
    return [stage_version("fit_representation"), stage_version("choose_shard")] if sharded else []


def find_whole(path: str) -> tuple[str, int] | None:
    """The path of the store or bank, or of its log or benchmark, that a shard's is a part of, and how many there are;
    None of what is no shard.
    """
    found = re.fullmatch(r"(.+)\.shards/\d+of(\d+)(\.\w+)", path)
    return (found[1] + found[3], int(found[2])) if found else None


def _match_counts(counts: Iterable[int]) -> str:
    return "|".join(map(str, sorted({count for count in counts if count > 1}))) or NOTHING


def _list_shards(whole: str, count: int) -> list[str]:
    return [f"{whole}{FOLDER}{number}of{count}.h5" for number in range(1, count + 1)]
