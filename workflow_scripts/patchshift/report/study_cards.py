"""The data cards of what a study trains on or scores.

Tested in tests/report/test_page.py.
"""

from patchshift.data.card import DataCard, read_card
from patchshift.report.analyses.study_data import StudyData


def read_cards(data: StudyData) -> list[DataCard]:
    """The cards of all datasets of a study's cells, targets first.

    Raises:
        UserError: if one is missing or damaged.
    """
    members = [dataset for dataset, _ in list_members(data)]
    names = dict.fromkeys([*(cell.target.dataset for cell in data.results.all_cells()), *members])
    return [read_card(data.folder / "data_cards" / f"{name}.json") for name in names]


def list_members(data: StudyData) -> list[tuple[str, str]]:
    """Dataset and category of what the study's banks are trained on, the members of a pool each."""
    trained = dict.fromkeys(cell.bank.training for cell in data.results.all_cells())
    return [pair for bank in trained for pair in data.plan.categories(f"{bank.dataset}/{bank.category}")]
