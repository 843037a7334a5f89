"""The printed report's last sections: what the figures do not show, and what would show it.

Tested in tests/report/test_document.py.
"""

from collections.abc import Mapping
from typing import Any

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import ADAPTED, NO_ADAPTATION, RECALIBRATED, condition_of
from patchshift.report.document import Block, Bullets, Heading, Paragraph
from patchshift.report.recommendation import Recommendation
from patchshift.report.sections.limits import describe_limits
from patchshift.report.wording import join_words, saturated


def discuss_limits(data: StudyData, provenance: Mapping[str, Any]) -> list[Block]:
    """The study's limits, as the page has them."""
    limits = describe_limits(data, provenance)
    opening = (
        "Counted and read off this study's own tables. A row is one bank, scored on one test set and decided by one "
        "threshold."
    )
    return [
        Heading("Limits and threats to validity"),
        Paragraph(opening),
        *(Paragraph(" ".join(limit.sentences), lead=limit.heading) for limit in limits),
    ]


def propose_work(data: StudyData, provenance: Mapping[str, Any], recommendation: Recommendation | None) -> list[Block]:
    """What the study did not measure, or too coarsely, and the key of the config that would mend it."""
    steps = [
        *_propose_images(provenance, recommendation),
        *_propose_draws(data),
        *_propose_shifts(data, provenance, recommendation),
    ]
    if not steps:
        return []
    opening = "What this study did not measure, or too coarsely, and what would mend it:"
    return [Heading("Future work"), Bullets(opening, steps)]


def _propose_images(provenance: Mapping[str, Any], recommendation: Recommendation | None) -> list[str]:
    steps = []
    if recommendation and recommendation.summary.auroc.low is not None and not saturated(recommendation.summary.auroc):
        level = len(recommendation.level)
        named = "the one setup" if level == 1 else f"the {level} setups"
        told = f", and may tell the recommended setup from {named} not told from it here" if level else ""
        steps.append(f"More test images: about four times as many of both kinds make an interval half as wide{told}.")
    drawn = [name for name, settings in provenance.get("datasets", {}).items() if settings.get("generate")]
    if drawn:
        steps.append(f"The same study on photographs of real products, in place of {join_words(drawn)}.")
    return steps


def _propose_draws(data: StudyData) -> list[str]:
    cells = data.results.all_cells()
    steps = []
    if len({cell.bank.seed for cell in cells if cell.bank.is_fitted}) == 1:
        steps.append("Several seeds of each detector (seeds), to see how far results vary with what fitting draws.")
    if len({cell.bank.split for cell in cells}) == 1:
        steps.append("A second draw of the split (splits), to see how far they vary with which images train.")
    return steps


def _propose_shifts(data: StudyData, provenance: Mapping[str, Any], recommendation: Recommendation | None) -> list[str]:
    strengths: dict[str, set[str]] = {}
    for domain in dict.fromkeys(cell.target.domain for cell in data.results.all_cells()):
        settings = data.domains.get(domain, {})
        if settings.get("shift", "none") != "none":
            strengths.setdefault(str(settings["shift"]), set()).add(str(settings.get("severity")))
    aliases = bool(provenance.get("aliases"))
    if not strengths and not aliases:
        return ["Shifted domains (target_domains): what another light or camera costs is not known."]
    steps = []
    single = sorted(name for name, found in strengths.items() if len(found) == 1)
    if single:
        steps.append(f"Several severities of {join_words(single)}, to see from where on a shift costs something.")
    if strengths and not aliases:
        steps.append("Images of a second camera (aliases), to hold computed shifts against a real one.")
    if recommendation:
        met = {condition_of(cell, recommendation.domain) for cell in data.results.all_views()}
        missing = [name for name in (NO_ADAPTATION, RECALIBRATED, ADAPTED) if name not in met]
        if 0 < len(missing) < 3:
            steps.append(f"The conditions not measured under shift: {join_words(missing)}.")
    return steps
