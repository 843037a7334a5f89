"""The settings of all ids as rows of the printed report: said once where many have them alike.

Tested in tests/report/test_document.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from patchshift.report.background import flatten_settings
from patchshift.report.document import Field, Row

SHARED = "unless stated"
FAMILY = ("method", "source", "protocol", "policy", "shift")
"""Settings that tell which others an id has."""


def list_ids(heading: str, ids: Mapping[str, Mapping[str, object]]) -> list[Row]:
    """A kind's ids, family by family: first what most of a family have, then of each what is its own."""
    families: dict[str, dict[str, dict[str, str]]] = {}
    for name, settings in ids.items():
        family = next((f"{key} {settings[key]}" for key in FAMILY if key in settings), "")
        families.setdefault(family, {})[name] = flatten_settings(settings)
    usuals = {name: _find_usual(list(flat.values())) if len(flat) > 1 else {} for name, flat in families.items()}
    rows: list[Row] = []
    for family, usual in sorted(usuals.items(), key=lambda each: bool(each[1])):  # stable: first those of one
        flat = families[family]
        if usual or not rows:
            rows.append(Row(title=f"{heading}: {family}" if usual and family else heading, opens=True))
        if usual:
            rows.append(_settings_row(SHARED, usual))
        for name, own in flat.items():
            rows.append(_settings_row(name, {key: value for key, value in own.items() if usual.get(key) != value}))
    return rows


def _find_usual(all_settings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The value that most have, of every setting that all have."""
    usual = {}
    for key in all_settings[0]:
        if all(key in settings for settings in all_settings):
            value, count = Counter(settings[key] for settings in all_settings).most_common(1)[0]
            if 2 * count > len(all_settings):
                usual[key] = value
    return usual


def _settings_row(name: str, settings: Mapping[str, str]) -> Row:
    said = "; ".join(f"{key}: {value}" for key, value in settings.items())
    return Row([Field(name, is_bold=True), Field(said or "as stated above")])
