"""What will run: config models, study expansion, stage versions. The Snakefile imports only this, so it stays light.

A name is imported when it is asked for: a job that reads one spec does not pay for the models of all others.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patchshift.plan.checking import load_study, open_study, record_ids
    from patchshift.plan.inputs import licences_to_show, missing_inputs
    from patchshift.plan.loading import read_yaml
    from patchshift.plan.stages import stage_version
    from patchshift.plan.study import Study
else:
    HOMES = {
        "Study": "study",
        "licences_to_show": "inputs",
        "load_study": "checking",
        "missing_inputs": "inputs",
        "open_study": "checking",
        "read_yaml": "loading",
        "record_ids": "checking",
        "stage_version": "stages",
    }

    def __getattr__(name):
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)


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
