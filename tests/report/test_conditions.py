import pytest

from patchshift.plan.cells import Bank, Cell, NaturalShift, Target
from patchshift.report.conditions import condition_of, reference_domain


def cell(fitted, calibrated, tested, *, trained="a", dataset="d"):
    bank = Bank(Target(dataset, trained, fitted), "s", "net", "bank", 0)
    return Cell(bank, Target("d", "a", tested), Target("d", "a", calibrated), "p")


@pytest.mark.parametrize(
    ("domains", "condition"),
    [
        (("clean", "clean", "clean"), "in domain"),
        (("clean", "clean", "dark"), "no adaptation"),
        (("clean", "dark", "dark"), "recalibrated"),
        (("dark", "dark", "dark"), "adapted"),
        (("dark", "dark", "clean"), None),
        (("dark", "clean", "dark"), None),
        (("clean", "blurred", "dark"), None),
        (("clean", "dark", "clean"), None),
        (("dark", "blurred", "dark"), None),
    ],
)
def test_condition_follows_from_three_domains(domains, condition):
    assert condition_of(cell(*domains), "clean") == condition


def test_banks_of_pools_and_other_categories_have_no_condition():
    assert condition_of(cell("clean", "clean", "clean", dataset="pools"), "clean") is None
    assert condition_of(cell("clean", "clean", "clean", trained="b"), "clean") is None


def test_unshifted_domain_is_the_reference_wherever_it_stands():
    cells = [cell("dark", "dark", "dark"), cell("clean", "clean", "clean")]
    assert reference_domain(cells, {"clean": {"shift": "none"}, "dark": {"shift": "blur"}}) == "clean"
    assert reference_domain(cells[:1], {"dark": {"shift": "blur"}}) == "dark"
    views = {"clean": {"shift": "none"}, "view": {"shift": "none", "view": {"short_side": 256}}}
    assert reference_domain([cell("view", "view", "view"), *cells], views) == "clean"
    assert reference_domain([cell("clean", "clean", "dark")], {"clean": {"shift": "none"}}) is None


FIRST, SECOND = Target("d", "a", "clean"), Target("e", "a", "clean")  # one product, two cameras


@pytest.mark.parametrize(
    ("fitted", "calibrated", "condition"),
    [
        (FIRST, FIRST, "no adaptation"),
        (FIRST, SECOND, "recalibrated"),
        (SECOND, SECOND, "adapted"),
        (Target("d", "b", "clean"), FIRST, None),
    ],
)
def test_where_an_alias_leads_is_a_shift_of_where_it_starts(fitted, calibrated, condition):
    seen = Cell(Bank(fitted, "s", "net", "bank", 0), SECOND, calibrated, "p", NaturalShift("camera_b", FIRST))
    assert condition_of(seen, "clean") == condition


def test_the_reference_is_never_a_domain_that_only_an_alias_led_to():
    adapted = Cell(Bank(SECOND, "s", "net", "bank", 0), SECOND, SECOND, "p", NaturalShift("camera_b", FIRST))
    assert reference_domain([adapted], {"clean": {"shift": "none"}}) is None
