"""What the metrics of the tables mean, each in a sentence; stated exactly in docs/protocol.md.

Tested in tests/report/test_limits.py.
"""

from patchshift.plan.specs import EvaluationSpec
from patchshift.report.experiments import METRICS

DEFINITIONS = {
    "image AUROC": "The probability that a defective test image outscores a good one, ties counting half; 0.5 is "
    "chance.",
    "image AP": "Average precision over images as the threshold falls, defective as the positive class. It depends on "
    "the share of defects.",
    "pixel AUROC": "AUROC of pixels, of all test images together, at their masks' own resolution.",
    "PRO": "The share of a defect region that is found, the mean over all regions, averaged over false-positive rates "
    "up to {pro_fpr_limit:g}.",
    "AUPIMO": "The share of an image's defect that is found, averaged over thresholds at which between "
    "{aupimo_fpr_bounds[0]:g} and {aupimo_fpr_bounds[1]:g} of the pixels of good images are flagged.",
    "pixel IoU": "Pixels flagged and defective, over pixels flagged or defective, at the threshold of pixels.",
    "F1": "2 TP / (2 TP + FP + FN) at the calibrated threshold.",
    "F1 floor": "The F1 of calling every image defective: a property of the test set.",
    "specificity": "The share of good images that pass: TN / (TN + FP).",
    "precision": "The share of flagged images that are defective: TP / (TP + FP).",
    "recall": "The share of defective images that are found: TP / (TP + FN).",
    "miss rate": "1 minus recall: of the defective images, those that pass.",
    "false-alarm rate": "1 minus specificity: of the good images, those that are flagged.",
}
"""Title, as tables have it -> its definition."""


def define_metrics(spec: EvaluationSpec) -> dict[str, str]:
    """The definitions with the numbers of a protocol."""
    assert set(METRICS.values()) <= set(DEFINITIONS)
    return {title: text.format(**spec.model_dump()) for title, text in DEFINITIONS.items()}
