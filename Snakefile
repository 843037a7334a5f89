# patchshift: from images to a report. Config: config.yaml, or --configfile configs/{study}.yaml.
import os
import sys
from pathlib import Path

sys.path.insert(0, f"{workflow.basedir}/workflow_scripts")
# To see whether a parameter is a table, Snakemake loads pandas, which takes longer than planning the demo. All of ours are
# text: where pandas is not loaded yet it is as if it were not installed, and Snakemake does not look.
sys.modules.setdefault("pandas", None)

import patchshift

library = Path(patchshift.__file__).parents[1]
if not library.is_relative_to(workflow.basedir):
    # Another checkout's environment: planning and jobs would run different code.
    sys.exit(f"{library} is imported, not this checkout's: run `make install` here")


from patchshift.runtime.accounts import check_accounts
from patchshift.runtime.retries import grow_with_tries


include: "rules/common.smk"


# Jobs inherit it: no parameter, so no reason to run again.
os.environ[LOG_LEVEL] = study.config.log_level


rule all:
    input:
        targets.list_targets(study),


rule heatmaps:
    input:
        exhibits.list_heatmaps(study),


include: "rules/datasets.smk"
include: "rules/weights.smk"
include: "rules/images.smk"
include: "rules/splits.smk"
include: "rules/domains.smk"
include: "rules/packs.smk"
include: "rules/data_cards.smk"
include: "rules/features.smk"
include: "rules/inspections.smk"
include: "rules/distances.smk"
include: "rules/banks.smk"
include: "rules/scores.smk"
include: "rules/external.smk"
include: "rules/thresholds.smk"
include: "rules/metrics.smk"
include: "rules/decisions.smk"
include: "rules/exports.smk"
include: "rules/heatmaps.smk"
include: "rules/studies.smk"
include: "rules/pools.smk"
include: "rules/analyses.smk"
include: "rules/reports.smk"
include: "rules/deliverables.smk"
include: "rules/experiments.smk"  # last: it must not take another rule's name


onstart:
    # Here, as no first try needs it: planning is as fast as without.
    grow_with_tries(workflow.rules)
    needed = list(workflow.dag.needrun_jobs())
    jobs = [(job.rule.name, dict(job.wildcards.items())) for job in needed]
    inputs = [str(path) for job in needed for path in job.input]
    logs = [str(path) for job in needed for path in job.log if not workflow.touch]
    try:
        check_accounts(workflow.rules, workflow.executor_plugin.name)
        start_run(
            study, batches.expand_jobs(study, jobs), Path(log[0]), inputs, logs
        )
    except UserError as error:
        sys.exit(str(error))


onsuccess:
    print(
        finish_run(
            study, Path(log[0]), failed=False, jobs=list_jobs(study, workflow)
        )
    )


onerror:
    print(finish_run(study, Path(log[0]), failed=True, jobs=list_jobs(study, workflow)))
