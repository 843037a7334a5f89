"""What a job asks for when it is tried again: memory and time that may have been too little double with each try.

Knows of Snakemake's rules their resources alone. Imports nothing heavy. Tested in tests/runtime/test_retries.py; tested
on a real cluster in tests/slurm/test_slurm.py.
"""

from collections.abc import Callable, Iterable
from typing import Any

GROWING = ("mem_mb", "runtime")
"""Resources whose lack ends a job under a batch system."""


def grow_with_tries(rules: Iterable[Any]) -> None:
    """Make every rule that states memory or time ask for more of it on each further try.

    What a profile or `--set-resources` says of a rule is taken as what its first try asks for, too.

    Args:
        rules: Snakemake's rules, all of them defined; their `resources` are changed.
    """
    for rule in rules:
        for name in GROWING:
            if name in rule.resources:
                rule.resources[name] = _grow(rule.resources[name])


def _grow(resource: Any) -> Callable[..., Any]:
    """A function of a resource as Snakemake calls it: of the wildcards, and of all else by name."""

    def grown(wildcards: Any, **given: Any) -> Any:
        first = resource.evaluate(wildcards, **given).value
        # Until a job's input is there, Snakemake has a word in place of what depends on it.
        return first * 2 ** (given["attempt"] - 1) if isinstance(first, int) else first

    return grown
