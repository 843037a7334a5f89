"""The command line of the scripts that analyse and draw a study's results.

Tested in tests/report/test_analyses.py.
"""

import argparse
import json
from pathlib import Path

from patchshift.plan.experiments import StudyPlan
from patchshift.plan.specs import AnalysisSpec, EvaluationSpec
from patchshift.report.analyses.study_data import StudyData


def analysis_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of what `read_study_data` needs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--plan", type=StudyPlan.model_validate_json, required=True, help="the study's plan (JSON)")
    parser.add_argument("--spec", type=EvaluationSpec.model_validate_json, required=True, help="protocol (JSON)")
    parser.add_argument("--analysis", type=AnalysisSpec.model_validate_json, required=True, help="analyses (JSON)")
    parser.add_argument("--domains", type=json.loads, required=True, help="settings of the study's domains (JSON)")
    parser.add_argument("--detectors", type=json.loads, required=True, help="settings of its detectors (JSON)")
    parser.add_argument("--baselines", type=json.loads, required=True, help="experiment -> its baseline (JSON)")
    parser.add_argument("--folder", type=Path, required=True, help="the study's folder, with its tables")
    return parser


def read_study_data(args: argparse.Namespace) -> StudyData:
    """The study that the arguments name."""
    return StudyData(args.plan, args.spec, args.analysis, args.domains, args.detectors, args.baselines, args.folder)
