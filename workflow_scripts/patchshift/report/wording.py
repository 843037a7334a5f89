"""The report's sentences: each says what numbers and their intervals support, and no more.

Plain text: the page escapes it.
Tested in tests/report/test_wording.py.
"""

from collections.abc import Mapping, Sequence

from patchshift.plan.cells import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.conditions import Setup
from patchshift.report.grammar import agree, count
from patchshift.report.ladder import MeanStep
from patchshift.report.pairing import Summary
from patchshift.report.policy_choice import describe_policies, excuse_threshold
from patchshift.report.recommendation import CHANCE, Recommendation
from patchshift.report.results import Value

USELESS_RATE = 0.5  # of misses or false alarms: as good as deciding by a coin
FEW_IMAGES = 20


def name_setup(setup: Setup) -> str:
    """Detector and backbone."""
    return f"{setup.detector} on {setup.backbone_name}" if setup.is_fitted else setup.detector


def can_decide(summary: Summary) -> bool:
    """Whether a threshold may be recommended: one that beats a coin, on defective and on good images."""
    shares = [share for share in (summary.misses, summary.false_alarms) if share]
    return bool(shares) and all(share.value < USELESS_RATE for share in shares)


def recommend_setup(recommendation: Recommendation | None, lack: str) -> str:
    """The answer in one sentence; that there is none where the images do not support one, or for `lack` of any."""
    if recommendation is None:
        return f"No recommendation: {lack}."
    setup = recommendation.setup
    where = f" on split {setup.split}" if recommendation.other_splits else ""
    if recommendation.reaches_chance:
        best = "the best of those compared" if recommendation.is_highest else "the best that is not untrained"
        lead = f"{best}, " if recommendation.rivals else ""
        return f"No setup can be recommended{where}. The figures below are of {lead}{name_setup(setup)}."
    use = f"On split {setup.split}, use" if where else "Use"
    if can_decide(recommendation.summary):
        return f"{use} {name_setup(setup)} with threshold {setup.threshold}."
    excuse = excuse_threshold(recommendation.summary, setup.threshold, len(recommendation.policies) + 1)
    return f"{use} {name_setup(setup)}; no threshold can be recommended{excuse}."


def name_decided(recommendation: Recommendation) -> str:
    """The setup, and its threshold where that decides anything."""
    name, summary = name_setup(recommendation.setup), recommendation.summary
    decided = summary.misses or summary.false_alarms
    return f"{name}, decided by threshold {recommendation.setup.threshold}" if decided else name


def tell_shift_setup(recommendation: Recommendation) -> str:
    """Of which setup the loss under shift is, where it is not the recommended one; empty where it is."""
    setup, shown = recommendation.setup, recommendation.shift_setup
    if shown is None or shown == setup:
        return ""
    if (shown.detector, shown.backbone) == (setup.detector, setup.backbone):
        return f"Measured with threshold {shown.threshold}, which was scored on more shifted images."
    return f"Measured for {name_setup(shown)} alone: the recommended setup was not scored on shifted images."


def describe_choice(recommendation: Recommendation) -> list[str]:
    """How sure the choice is, sentence by sentence."""
    rivals, level = recommendation.rivals, recommendation.level
    measure = "mean image AUROC" if len(recommendation.cells) > 1 else "image AUROC"
    sentences = []
    if recommendation.other_splits:
        sentences.append(
            f"This is of split {recommendation.setup.split} alone. On {join_words(recommendation.other_splits)} the "
            "setups may rank otherwise: the tables of the experiments have each split."
        )
    sentences += list_cautions(recommendation.summary)
    if not rivals:
        sentences.append("No other detector was compared on the same images, so this is a description, not a choice.")
    elif not recommendation.is_highest:
        sentences.append(
            f"Untrained weights have a higher {measure}, but these test images do not tell them from it, so it is "
            "preferred."
        )
    elif level:
        sentences.append(f"It has the highest {measure}, but these test images do not tell all others from it.")
    else:
        sentences.append(f"Its {measure} is above that of every other setup compared.")
    if recommendation.left_out:
        sentences.append(describe_left_out(recommendation.left_out))
    if rivals:
        sentences.append("It was chosen on the test images that its figures come from, which flatters them a little.")
    sentences += describe_policies(recommendation.policies)
    if recommendation.incomplete:
        names = join_words([name_setup(setup) for setup in recommendation.incomplete])
        sentences.append(f"Not compared, since they do not cover the same categories: {names}.")
    if saturated(recommendation.summary.auroc):
        sentences.append(
            "No resample of these images has a ranking error, so the interval is a single point: that is a limit of "
            "the test set, not certainty."
        )
    return sentences


def list_exports(recommendation: Recommendation) -> list[str]:
    """The commands that take a choice to new images, one for each bank; none where nothing is to be used."""
    if recommendation.reaches_chance or not can_decide(recommendation.summary):
        return []
    paths = (
        f"results/exports/{cell.bank.path}/from/{cell.calibration.path}/{cell.threshold}.h5"
        for cell in recommendation.cells
        if cell.bank.is_fitted
    )
    return [f"snakemake --cores 2 {path}" for path in dict.fromkeys(paths)]


def list_cautions(summary: Summary) -> list[str]:
    """What must be said before anyone acts on a choice; the best of a study may still be of no use."""
    cautions = []
    if summary.auroc.low is not None and summary.auroc.low <= CHANCE:
        cautions.append(
            "Caution: its interval reaches chance, so these images do not show that it ranks defects at all."
        )
    for share, deed in ((summary.misses, "misses"), (summary.false_alarms, "flags")):
        if share and share.value >= USELESS_RATE:
            kind = "defective" if deed == "misses" else "good"
            cautions.append(f"Caution: it {deed} {share.count} of {share.total} {kind} images: do not use it as it is.")
    for share, kind in ((summary.misses, "defective"), (summary.false_alarms, "good")):
        if share and share.total < FEW_IMAGES:
            tested = f"{count(share.total, f'{kind} image')} {agree(share.total, 'was', 'were')} tested"
            cautions.append(f"Only {tested}: expect other figures with more.")
    return cautions


def _three_digits(value: float) -> str:
    return f"{value:.3f}"


def describe_difference(difference: Value, first: str, second: str, *, over: str) -> str:
    """Which of two is higher in mean image AUROC, if the images tell."""
    if difference.value is None or difference.low is None or difference.high is None:
        return f"The difference between {first} and {second} is undefined: {difference.undefined}."
    if difference.low > 0 or difference.high < 0:
        word = "higher" if difference.low > 0 else "lower"
        low, high = sorted((abs(difference.low), abs(difference.high)))
        size = Value(abs(difference.value), low, high)
        return f"{over} {first} has a {word} image AUROC than {second}, by {size.plain}."
    return (
        f"{over} these test images do not tell {first} from {second}: the difference in image AUROC is "
        f"{difference.plain}."
    )


def describe_single_losses(losses: Mapping[str, Value]) -> str:
    """The categories in which the interval of what the shared bank costs excludes zero; empty where none does.

    Args:
        losses: category -> image AUROC of its own bank minus that of the shared one. Of one category nothing is said
            that the mean does not say.
    """
    if len(losses) < 2:
        return ""
    said = []
    for category, loss in losses.items():
        if loss.value is None or loss.low is None or loss.high is None or loss.low <= 0 <= loss.high:
            continue
        low, high = sorted((abs(loss.low), abs(loss.high)))
        size, word = Value(abs(loss.value), low, high), "lower" if loss.value > 0 else "higher"
        said.append(f"On {category} alone the shared bank's image AUROC is {word}, by {size.plain}.")
    if said:
        said.append("Intervals of single categories are not corrected for their number.")
    return " ".join(said)


def describe_sharing(difference: Value, losses: Mapping[str, Value], categories: int) -> str:
    """What sharing one bank costs or brings, over the categories and in single ones.

    Args:
        difference: mean image AUROC of the shared bank minus that of a bank per category.
        losses: category -> image AUROC of its own bank minus that of the shared one.
        categories: how many are compared.
    """
    over = f"Over {categories} categories," if categories > 1 else "On the one category compared,"
    said = describe_difference(difference, "the shared bank", "a bank per category", over=over)
    return f"{said} {describe_single_losses(losses)}".rstrip()


def describe_ladder(name: str, steps: Sequence[MeanStep]) -> str:
    """How far a shift pulls image AUROC down, and from which severity on these images show it.

    A loss counts where the interval of the difference to the clean domain, on the same images, lies below zero; half of
    what there was counts only if the clean domain's interval lies above chance.

    Args:
        name: the shift.
        steps: in rising order of severity.
    """
    measure = "mean image AUROC" if steps[0].categories > 1 else "image AUROC"
    values = join_words([f"{_three_digits(step.mean.value or 0)} {_at(step.severity)}" for step in steps])
    sentences = [f"{name}: {measure} is {values}."]
    start, *later = steps
    if start.severity > 0:
        return " ".join([*sentences, "The clean domain was not scored here, so nothing is said of what is lost."])
    lost = [step for step in later if step.change and step.change.high is not None and step.change.high < 0]
    if not lost:
        return " ".join([*sentences, "At no severity do these test images tell it from the clean domain."])
    places = f"from {_severity(lost[0].severity)} on" if lost == later[-len(lost) :] and len(lost) > 1 else ""
    places = places or join_words([_at(step.severity) for step in lost])
    sentences.append(f"It is lower than in the clean domain {places}.")
    if start.mean.value is not None and start.mean.low is not None and start.mean.low > CHANCE:
        middle = (start.mean.value + CHANCE) / 2
        halved = next((step for step in lost if step.mean.value is not None and step.mean.value <= middle), None)
        if halved is None:
            sentences.append("At no severity is that figure half way to chance.")
        else:
            sentences.append(f"{_at(halved.severity).capitalize()} that figure is half way to chance, or beyond.")
    level = next((step for step in steps if step.mean.low is not None and step.mean.low <= CHANCE), None)
    if level is not None:
        sentences.append(f"{_at(level.severity).capitalize()} its interval reaches chance.")
    return " ".join(sentences)


def _severity(severity: float) -> str:
    return {1.0: "mild", 2.0: "moderate", 3.0: "severe"}.get(severity, f"severity {severity:g}")


def _at(severity: float) -> str:
    return f"at {_severity(severity)}" if severity else "in the clean domain"


def describe_aliases(cells: Sequence[Cell]) -> list[str]:
    """Where the images of natural shifts are from: one sentence for each alias.

    Args:
        cells: cells that an alias led to.
    """
    leads: dict[str, dict[str, str]] = {}
    for cell in cells:
        origin, target = cell.origin, cell.target
        whole = origin.category == target.category
        seen = target.dataset if whole else f"{target.dataset}/{target.category}"
        leads.setdefault(cell.domain, {})[origin.dataset if whole else f"{origin.dataset}/{origin.category}"] = seen
    return [
        f"{alias} is a natural shift: {join_words([f'{origin} seen in {seen}' for origin, seen in pairs.items()])}."
        for alias, pairs in leads.items()
    ]


def describe_changes(reference: str, *, paired: Sequence[str], unpaired: Sequence[str]) -> str:
    """What the column of changes holds; empty where there is none.

    Args:
        reference: the domain that shifts are measured against.
        paired: domains that show the reference domain's images.
        unpaired: domains that show others.
    """
    if not paired and not unpaired:
        return ""
    opening = f"Change: image AUROC minus that in domain {reference}"
    if not unpaired:
        return f"{opening}, on the same images and resamples."
    names, verb = join_words(unpaired), "shows" if len(unpaired) == 1 else "show"
    others = f"{names} {verb} other images than {reference}, so both sides are resampled independently of each other"
    return f"{opening}, on the same images and resamples. But {others}." if paired else f"{opening}. {others}."


def describe_left_out(counts: Mapping[str, int]) -> str:
    """How many images a comparison of domains leaves out; empty where it leaves out none.

    Args:
        counts: shifted domain -> images.
    """
    if not counts:
        return ""
    named = [f"{count(number, 'image')} in {domain}" for domain, number in counts.items()]
    return f"Left out of the comparison, since their defect left the frame or is ignored: {join_words(named)}."


def explain_intervals(spec: EvaluationSpec) -> str:
    """How intervals are made, and what they cover."""
    return (
        f"Intervals have a confidence of {100 * spec.confidence:g} % and cover the choice of test images, not that of "
        "the split, and that of seeds only in means over several. Misses and false alarms: Wilson's; means of these, "
        "differences on the same images, shares and F1: MOVER from Wilson's; else a bootstrap over images within each "
        "class, bias-corrected and accelerated (BCa) for metrics of images, percentiles for pixels and for means and "
        f"differences of image AUROC ({spec.bootstrap_resamples} resamples, seed {spec.bootstrap_seed}). Two setups "
        "are level (≈, not told from each other) where the interval of their difference on the same resamples reaches "
        "0; what paired comparisons tell apart has a corrected p that is small enough as well."
    )


def saturated(value: Value) -> bool:
    """Whether not one resample has an error."""
    return value.low == value.high == 1


def join_words(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
