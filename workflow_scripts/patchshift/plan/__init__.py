"""What will run: config models, study expansion, stage versions. The Snakefile imports only this, so it stays light."""

from patchshift.plan.checking import load_study, open_study, record_ids
from patchshift.plan.inputs import licences_to_show, missing_inputs
from patchshift.plan.loading import read_yaml
from patchshift.plan.stages import stage_version
from patchshift.plan.study import Study

__all__ = [
    "Study",
    "licences_to_show",
    "load_study",
    "missing_inputs",
    "open_study",
    "read_yaml",
    "record_ids",
    "stage_version",
]
