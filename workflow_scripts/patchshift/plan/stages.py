"""Which version of a stage made an artifact.

Snakemake sees that a rule changed, not that a module did. Stages up to the scores carry a version bumped by hand when
their results change: they are costly, or costly ones follow them. The cheap stages behind the scores carry a
fingerprint of their sources, so that they follow every edit.
"""

import hashlib
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parents[1]

VERSIONS = {
    "fetch_dataset": 1,
    "fetch_weights": 1,
    "generate_dataset": 1,
    "index_images": 2,
    "split_images": 2,
    "synthesize_shift": 2,
    "turn_images": 1,
    "crop_defects": 1,
    "synthesize_defects": 1,
    "extract_features": 3,
    "trace_attention": 1,
    "fit_detector": 6,
    "import_scores": 1,
    "score_images": 3,
}

REPRESENTATIONS = [
    f"features/{module}.py"
    for module in ("embedding", "fusion", "interpolation", "moments", "neighbourhoods", "parallel", "planning")
] + ["features/reduction.py", "features/representations.py", "features/store.py", "features/stored_maps.py"]

COMBINED = ["evaluation", "data/packs.py", "data/regions.py", "data/splits.py"] + [
    f"detectors/{module}.py" for module in ("combination", "image_scores", "reweighting")
]

ANALYSES = ["evaluation", "report/analyses", "report/published.csv"] + [
    f"report/{module}.py"
    for module in ("cases", "conditions", "labels", "pairing", "pictures", "recommendation", "results", "tables")
]

FIGURES = [*ANALYSES, "report/plots"] + [
    f"report/{module}.py"
    for module in ("distances", "experiments", "figures", "ladder", "shift_figure", "shift_gallery", "style")
]

SOURCES = {
    "pack_images": ["data/image_facts.py", "data/packs.py", "data/images.py"],
    "write_data_card": ["data/card.py", "data/card_measures.py", "data/splits.py", "report"],
    "measure_distances": [
        *REPRESENTATIONS,
        "evaluation/distance_intervals.py",
        "evaluation/domain_distances.py",
        "evaluation/feature_samples.py",
        "evaluation/ranking.py",
        "evaluation/statistics.py",
        "evaluation/undefined.py",
        "data/splits.py",
        "data/streams.py",
    ],
    "collect_distances": ["report", "plan/inspections.py"],
    "inspect_features": [
        *REPRESENTATIONS,
        "evaluation",
        "features/activation.py",
        "data/index.py",
        "data/inspected.py",
        "data/packs.py",
        "data/regions.py",
        "data/splits.py",
        "data/streams.py",
    ],
    "plot_inspection": [
        "report",
        "evaluation/inspection_store.py",
        "evaluation/separability.py",
        "features/interpolation.py",
    ],
    "plot_attention": [
        "report",
        "evaluation/head_groups.py",
        "features/attention_store.py",
        "features/interpolation.py",
    ],
    "calibrate_threshold": [*COMBINED, "features/interpolation.py"],
    "evaluate": ["evaluation", "data/packs.py", "data/regions.py", "data/splits.py", "features/interpolation.py"],
    "decide": [*COMBINED, "features/interpolation.py"],
    "collect_experiment": [
        "report/tables.py",
        "report/analyses/digits.py",
        "report/costs.py",
        "report/timings.py",
        "detectors/pace.py",
    ],
    "collect_study": ["report/tables.py", "report/analyses/digits.py", "report/timings.py", "detectors/pace.py"],
    "compare_pools": ["report", "evaluation"],
    "analyse_experiment": ANALYSES,
    "analyse_study": ANALYSES,
    "plot_experiment": FIGURES,
    "plot_study": FIGURES,
    "plot_shifts": ["report"],
    "export_model": [
        "app/export.py",
        "app/models.py",
        "data/regions.py",
        "evaluation/calibrated.py",
        "evaluation/calibration.py",
        "evaluation/scored.py",
        "evaluation/thresholds.py",
        "runtime/sealed.py",
    ],
    "predict_images": [
        *(f"app/{module}.py" for module in ("calibrations", "detector", "drift", "heatmaps", "latency", "predictions")),
        "app/watching.py",
        *(f"evaluation/{module}.py" for module in ("anomaly_maps", "probabilities", "thresholds", "zones")),
        "features/held_maps.py",
        "features/interpolation.py",
        "report/pictures.py",
    ],
    "write_report": ["report", "data/regions.py", "evaluation/calibrated.py"],
}


@cache
def stage_version(rule: str) -> str:
    """The version of a rule's code: a bumped number up to the scores, 12 hex digits of its sources behind them."""
    if rule in VERSIONS:
        return str(VERSIONS[rule])
    digest = hashlib.sha256((LIBRARY.parent / f"{rule}.py").read_bytes())
    for source in SOURCES[rule]:
        path = LIBRARY / source
        for file in sorted(f for f in path.rglob("*.*") if f.suffix != ".pyc") if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
