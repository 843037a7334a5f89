"""Slurm accounts that a run names are looked up before its first job.

Snakemake's plugin looks one up when a job is submitted. It prints a traceback for a wrong one; and where the job is a
group, it says nothing and waits.

Imports nothing heavy where no account is named. Tested in tests/runtime/test_accounts.py; on a real cluster in
tests/slurm/test_slurm.py.
"""

import keyword
import logging
import os
import re
from collections.abc import Iterable
from typing import Any

from patchshift.errors import UserError

RESOURCE = "slurm_account"
NAMES = re.compile(r"[\w.@+-]+(?:[,\s]+[\w.@+-]+)*")


def check_accounts(rules: Iterable[Any], executor: str) -> None:
    """Refuse a run whose jobs Slurm would not take from this user.

    Args:
        rules: Snakemake's rules, with what a profile or the command line says of their resources.
        executor: who runs the jobs; only of `slurm` is anything asked.

    Raises:
        UserError: an account that is none of the user's, with those that are; or Slurm's accounting cannot be asked.
    """
    stated = {rule.resources[RESOURCE].raw for rule in rules if RESOURCE in rule.resources}
    accounts = {account for each in stated for account in _read_names(each)}
    if executor != "slurm" or not accounts:
        return
    from snakemake_executor_plugin_slurm.accounts import validate_account
    from snakemake_interface_common.exceptions import WorkflowError

    for account in sorted(accounts):
        try:
            validate_account(account, logging.getLogger(__name__))
        except (WorkflowError, OSError) as error:
            raise UserError(f"{RESOURCE} '{account}' cannot be used: {' '.join(str(error).split())}") from error


def _read_names(stated: Any) -> list[str]:
    """The accounts that a resource names; none of an expression, which only a job can work out."""
    text = os.path.expandvars(str(stated or "")).strip()
    if re.fullmatch(r"""'[^'"]*'|"[^'"]*\"""", text):  # as a string is quoted for Snakemake
        text = text[1:-1]
    names = re.split(r"[,\s]+", text) if NAMES.fullmatch(text) else []
    return [] if any(map(keyword.iskeyword, names)) else names
