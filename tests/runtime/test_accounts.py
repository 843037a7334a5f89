"""Accounts are looked up before the first job, with Snakemake's own resources; Slurm's answers are played."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from snakemake.resources import Resources
from snakemake_interface_common.exceptions import WorkflowError

from patchshift.errors import UserError
from patchshift.runtime.accounts import check_accounts


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The accounts that the plugin was asked for. It knows one, `inspection`; `nowhere` finds no Slurm."""
    found: list[str] = []

    def validate_account(account: str, logger: Any) -> str:
        found.append(account)
        if account == "nowhere":
            raise FileNotFoundError("sacctmgr")
        if account != "inspection":
            raise WorkflowError(f"The given account {account} appears to be invalid. Available accounts:\ninspection")
        return account

    plugin = ModuleType("snakemake_executor_plugin_slurm.accounts")
    plugin.validate_account = validate_account  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_slurm", ModuleType("snakemake_executor_plugin_slurm"))
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    return found


def rules(*accounts: str) -> list[Any]:
    """One rule for each, as a profile states it, and one without."""
    stated = [[f"slurm_account={account}"] for account in accounts] + [["runtime=60"]]
    return [SimpleNamespace(resources=Resources.parse(one, allow_expressions=True)) for one in stated]


def test_each_account_is_looked_up_once(asked: list[str]) -> None:
    check_accounts(rules("inspection", "inspection"), "slurm")
    assert asked == ["inspection"]


@pytest.mark.parametrize("accounts", [["wrong"], ["inspection", "wrong"], ["inspection,wrong"]])
def test_a_wrong_account_is_refused_with_those_that_there_are(asked: list[str], accounts: list[str]) -> None:
    with pytest.raises(UserError, match=r"slurm_account 'wrong' cannot be used: .* Available accounts: inspection"):
        check_accounts(rules(*accounts), "slurm")


@pytest.mark.parametrize("stated", ["'inspection'", '"inspection"', "$LAB_ACCOUNT", "inspection"])
def test_an_account_is_read_as_snakemake_reads_it(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, stated: str
) -> None:
    monkeypatch.setenv("LAB_ACCOUNT", "inspection")
    check_accounts(rules(stated), "slurm")
    assert asked == ["inspection"]


@pytest.mark.parametrize("expression", ["'big' if attempt > 1 else 'small'", "big if attempt else small", "name()"])
def test_an_expression_is_left_to_the_job(asked: list[str], expression: str) -> None:
    check_accounts(rules(expression), "slurm")
    assert asked == []


def test_a_slurm_that_cannot_be_asked_is_said(asked: list[str]) -> None:
    with pytest.raises(UserError, match="slurm_account 'nowhere' cannot be used: sacctmgr"):
        check_accounts(rules("nowhere"), "slurm")


def test_other_executors_and_runs_without_an_account_ask_nothing(asked: list[str]) -> None:
    check_accounts(rules("wrong"), "local")
    check_accounts(rules(), "slurm")
    assert asked == []
