"""What a job that is tried again asks for, with Snakemake's own resources."""

from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.common.tbdstring import TBDString
from snakemake.resources import Resources

from patchshift.runtime.retries import grow_with_tries


def evaluate(resources: Resources, name: str, attempt: int) -> Any:
    """As Snakemake does for a job."""
    given = {"input": [], "attempt": attempt, "threads": 3, "rulename": "rule", "async_run": None}
    return resources[name].evaluate("wildcards", **given).value


@pytest.mark.parametrize(
    ("stated", "first"), [(2000, 2000), (lambda wildcards: 500, 500), (lambda wildcards, threads: 1000 * threads, 3000)]
)
@pytest.mark.parametrize("name", ["mem_mb", "runtime"])
def test_memory_and_time_double_with_each_try(name: str, stated: Any, first: int) -> None:
    resources = Resources.from_mapping({name: stated})
    grow_with_tries([SimpleNamespace(resources=resources)])
    assert [evaluate(resources, name, attempt) for attempt in (1, 2, 3)] == [first, 2 * first, 4 * first]


def test_what_a_profile_says_of_a_rule_grows_as_well() -> None:
    resources = Resources.parse(["mem_mb=100 * threads", "runtime=7"], allow_expressions=True)
    grow_with_tries([SimpleNamespace(resources=resources)])
    assert evaluate(resources, "mem_mb", 2) == 600
    assert evaluate(resources, "runtime", 3) == 28


def test_cards_and_partitions_stay_as_they_are() -> None:
    resources = Resources.from_mapping({"gpu": 1, "slurm_partition": "long", "mem_mb": 1})
    grow_with_tries([SimpleNamespace(resources=resources)])
    assert resources["gpu"].value == 1
    assert resources["slurm_partition"].value == "long"


def test_memory_that_is_not_known_yet_stays_unknown() -> None:
    resources = Resources.from_mapping({"mem_mb": lambda wildcards: TBDString()})
    grow_with_tries([SimpleNamespace(resources=resources)])
    assert isinstance(evaluate(resources, "mem_mb", 2), TBDString)


def test_a_rule_that_states_neither_is_left_alone() -> None:
    resources = Resources.from_mapping({"gpu": 0})
    grow_with_tries([SimpleNamespace(resources=resources)])
    assert list(resources) == ["gpu"]
