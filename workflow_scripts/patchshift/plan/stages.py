"""Which version of a stage made an artifact.

Snakemake sees that a rule changed, not that a module did. Stages up to the scores carry a version bumped by hand when
their results change: they are costly, or costly ones follow them. The cheap stages behind the scores carry a
fingerprint of their sources, so that they follow every edit.

Shards of features and of banks are deleted once they are joined. The job that joins them is told their number, so a
raised one runs both again, where Snakemake has its records. What is joined is, byte for byte, the work of
`extract_features` or `fit_detector` and names their number alone: whoever changes what comes of shards raises that
one, too, or `patchshift check` cannot see it in results that were copied.
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
    "extract_shard": 1,
    "merge_features": 1,
    "trace_attention": 1,
    "fit_detector": 6,
    "fit_representation": 1,
    "choose_shard": 1,
    "import_scores": 1,
    "score_images": 3,
}

REPRESENTATIONS = [
    f"features/{module}.py"
    for module in ("embedding", "fusion", "interpolation", "moments", "neighbourhoods", "parallel", "planning")
] + ["features/reduction.py", "features/representations.py", "features/store.py", "features/stored_maps.py"]


def _modules(folder: str, names: str) -> list[str]:
    return [f"{folder}/{name}.py" for name in names.split()]


RANKED = [
    *_modules(
        "evaluation", "anomaly_maps aupimo calibrated calibration evaluate image_metrics pixel_metrics pixel_pool"
    ),
    *_modules("evaluation", "ranking rates scored statistics undefined"),
]

THRESHOLDS = _modules("evaluation", "pixel_thresholds policies probabilities thresholds zones")

COMBINED = [*RANKED, *THRESHOLDS, "data/packs.py", "data/regions.py", "data/splits.py"] + [
    f"detectors/{module}.py" for module in ("combination", "image_scores", "reweighting")
]

TABLES = ["report/analyses/digits.py", *_modules("report", "keys labels results")]

SHOWN = [*TABLES, *_modules("evaluation", "image_metrics ranking undefined"), *_modules("report", "figures style")]

ANALYSES = [
    *("evaluation", "report/analyses", "report/published.csv"),
    *_modules("report", "cases cell_maps conditions keys labels pairing pictures policy_choice recommendation results"),
]

FIGURES = [*ANALYSES, "report/plots"] + [
    f"report/{module}.py"
    for module in ("distances", "experiments", "figures", "grammar", "ladder", "shift_figure", "shift_gallery", "style")
]

CARD = [
    *SHOWN,
    *_modules("evaluation", "anomaly_maps rates statistics"),
    *_modules(
        "report", "background conditions data_card data_figures data_wording experiments ladder pairing pictures"
    ),
    *_modules("report", "grammar policy_choice recommendation templating wording"),
    "report/templates",
]

SOURCES = {
    "pack_images": ["data/image_facts.py", "data/packs.py", "data/images.py"],
    "write_data_card": ["data/card.py", "data/card_measures.py", "data/splits.py", *CARD],
    "measure_distances": [
        *REPRESENTATIONS,
        "evaluation/distance_intervals.py",
        "evaluation/domain_distances.py",
        "evaluation/feature_samples.py",
        "evaluation/fusion_drifts.py",
        "evaluation/ranking.py",
        "evaluation/statistics.py",
        "evaluation/undefined.py",
        "data/splits.py",
        "data/streams.py",
        "plan/fusions.py",
    ],
    "collect_distances": [*SHOWN, "report/distances.py", "plan/fusions.py", "plan/inspections.py"],
    "inspect_features": [
        *REPRESENTATIONS,
        *_modules(
            "evaluation", "inspection inspection_store patch_samples planar_maps ranking separability statistics"
        ),
        "evaluation/undefined.py",
        "features/activation.py",
        "data/index.py",
        "data/inspected.py",
        "data/packs.py",
        "data/regions.py",
        "data/splits.py",
        "data/streams.py",
    ],
    "plot_inspection": [
        *SHOWN,
        *_modules("report", "examples inspection_figures overlays pictures shift_gallery"),
        *_modules("evaluation", "anomaly_maps head_groups inspection_store patch_samples separability statistics"),
        "features/interpolation.py",
    ],
    "plot_attention": [
        *SHOWN,
        *_modules("report", "examples overlays pictures shift_gallery"),
        *_modules("evaluation", "anomaly_maps head_groups"),
        "features/attention_store.py",
        "features/interpolation.py",
    ],
    "calibrate_threshold": [*COMBINED, "evaluation/log_odds.py", "features/interpolation.py"],
    "evaluate": [
        *RANKED,
        "evaluation/pools.py",
        "data/packs.py",
        "data/regions.py",
        "data/splits.py",
        "features/interpolation.py",
    ],
    "decide": [*COMBINED, *_modules("evaluation", "decisions reliability"), "features/interpolation.py"],
    "collect_experiment": [
        "report/keys.py",
        "report/tables.py",
        "report/analyses/digits.py",
        "report/costs.py",
        "report/timings.py",
        "detectors/pace.py",
    ],
    "collect_study": [*_modules("report", "keys tables timings"), "report/analyses/digits.py", "detectors/pace.py"],
    "compare_pools": [
        *SHOWN,
        *_modules("evaluation", "pools rates scored statistics"),
        *_modules("report", "conditions pairing policy_choice pools recommendation shift shift_figure"),
    ],
    "write_deliverables": [
        *_modules("report/analyses", "digits estimates"),
        *_modules("report", "deliverables keys results"),
        *_modules("evaluation", "image_metrics ranking undefined"),
        *_modules("data", "splits tables"),
        *_modules("plan", "deliverable_specs deliverables"),
    ],
    "analyse_experiment": ANALYSES,
    "analyse_study": ANALYSES,
    "plot_experiment": FIGURES,
    "plot_study": FIGURES,
    "plot_shifts": [*SHOWN, *_modules("report", "examples shift_gallery")],
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
        "report/masks.py",
        "report/pictures.py",
    ],
    "render_heatmaps": [
        *_modules("report", "cell_maps heatmaps masks pictures"),
        *[*RANKED, "evaluation/policies.py", "evaluation/zones.py"],
        *_modules("data", "packs regions splits"),
        *_modules("detectors", "combination image_scores reweighting"),
        "features/interpolation.py",
    ],
    "write_report": ["report", "data/regions.py", "evaluation"],
    "write_pdf": ["report", "evaluation"],
}


CODE = frozenset((".py", ".html", ".css", ".js", ".typ", ".csv"))
"""What a folder of the library consists of; other files there are an editor's or a compiler's."""


@cache
def stage_version(rule: str) -> str:
    """The version of a rule's code: a bumped number up to the scores, 12 hex digits of its sources behind them."""
    if rule in VERSIONS:
        return str(VERSIONS[rule])
    digest = hashlib.sha256((LIBRARY.parent / f"{rule}.py").read_bytes())
    for source in SOURCES[rule]:
        path = LIBRARY / source
        for file in _list_code(path) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _list_code(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*.*") if path.suffix in CODE)
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))
