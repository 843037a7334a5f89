# Gather a study's results into tables, figures and the report.
#
# Needs  results/metrics, results/decisions, results/scores, results/thresholds, results/packs  (of the study's cells),
#        tables and figures of its analyses, figures of its inspections and distances.csv
# Makes  results/studies/{study}/experiments/{experiment}/results.csv, costs.csv,
#        results/studies/{study}/shifts/{dataset}/{category}.png
#        results/studies/{study}/{metrics,predictions,timings}.csv, results/studies/{study}/report.html


rule collect_experiment:
    input:
        metrics=lambda wildcards: sorted(
            {cell.metrics for cell in study.cells[wildcards.experiment]}
        ),
        decisions=lambda wildcards: sorted(
            {cell.decisions for cell in study.cells[wildcards.experiment]}
        ),
    output:
        results=report(
            f"{study.folder}/experiments/{{experiment}}/results.csv",
            category="Tables",
            labels={"of": "{experiment}", "table": "results.csv"},
        ),
        costs=report(
            f"{study.folder}/experiments/{{experiment}}/costs.csv",
            category="Tables",
            labels={"of": "{experiment}", "table": "costs.csv"},
        ),
    log:
        f"results/logs/collect_experiment/{study.name}/{{experiment}}.log",
    benchmark:
        f"results/benchmarks/collect_experiment/{study.name}/{{experiment}}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        plan=lambda wildcards: study.plan_spec(wildcards.experiment),
        baseline=lambda wildcards: options(
            baseline=study.config.experiments[wildcards.experiment].baseline
        ),
        stage=stage_version("collect_experiment"),
    shell:
        "python workflow_scripts/collect_experiment.py"
        " --plan {params.plan:q} --experiment {wildcards.experiment:q} {params.baseline:q}"
        " --results {output.results:q} --costs {output.costs:q} > {log:q} 2>&1"


rule collect_study:
    input:
        metrics=sorted({cell.metrics for cell in study.all_cells()}),
        decisions=sorted({cell.decisions for cell in study.all_cells()}),
    output:
        metrics=report(
            f"{study.folder}/metrics.csv",
            category="Tables",
            labels={"of": "the study", "table": "metrics.csv"},
        ),
        predictions=f"{study.folder}/predictions.csv",
        timings=f"{study.folder}/timings.csv",
        table=f"{study.folder}/results.txt",
    log:
        f"results/logs/collect_study/{study.name}.log",
    benchmark:
        f"results/benchmarks/collect_study/{study.name}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        plan=study.plan_spec(),
        # With `output`, Snakemake does not compare it: where times stand is no reason to gather them again.
        batches=lambda wildcards, output: batches.list_benchmarks(study),
        stage=stage_version("collect_study"),
    shell:
        "python workflow_scripts/collect_study.py --plan {params.plan:q} --batches {params.batches:q}"
        " --metrics {output.metrics:q} --predictions {output.predictions:q} --timings {output.timings:q}"
        " --table {output.table:q}"
        " > {log:q} 2>&1"


rule plot_shifts:
    input:
        packs=lambda wildcards: expand(
            "results/packs/{{dataset}}/{{category}}/{domain}.h5",
            domain=exhibits.gallery_domains(
                study, wildcards.dataset, wildcards.category
            ),
        ),
    output:
        gallery=report(
            f"{study.folder}/shifts/{{dataset}}/{{category}}.png",
            category="Shifts",
            labels={"category": "{dataset}/{category}", "figure": "clean and shifted"},
        ),
    log:
        f"results/logs/plot_shifts/{study.name}/{{dataset}}/{{category}}.log",
    benchmark:
        f"results/benchmarks/plot_shifts/{study.name}/{{dataset}}/{{category}}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        domains=lambda wildcards: exhibits.gallery_domains(
            study, wildcards.dataset, wildcards.category
        ),
        stage=stage_version("plot_shifts"),
    shell:
        "python workflow_scripts/plot_shifts.py"
        " --packs {input.packs:q} --domains {params.domains:q} --gallery {output.gallery:q} > {log:q} 2>&1"


rule write_report:
    input:
        metrics=f"{study.folder}/metrics.csv",
        predictions=f"{study.folder}/predictions.csv",
        results=expand(
            f"{study.folder}/experiments/{{experiment}}/results.csv",
            experiment=study.cells,
        ),
        scores=sorted({cell.scores for cell in study.all_cells()}),
        thresholds=sorted({cell.threshold_file for cell in study.all_cells()}),
        packs=sorted(
            {
                *(cell.pack for cell in study.all_cells()),
                *exhibits.list_card_packs(study),
            }
        ),
        splits=sorted({cell.split for cell in study.all_cells()}),
        cards=expand(
            f"{study.folder}/data_cards/{{dataset}}.json",
            dataset=exhibits.card_datasets(study),
        ),
        tables=analyses.list_tables(study),
        figures=analyses.list_figure_folders(study),
        looks=inspections.list_inspection_figures(study),
        distances=exhibits.list_distance_tables(study),
    output:
        report=report(
            f"{study.folder}/report.html",
            category="Report",
            labels={"study": study.name, "figure": "the page"},
        ),
    log:
        f"results/logs/write_report/{study.name}.log",
    benchmark:
        f"results/benchmarks/write_report/{study.name}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        options=analyses.options(study),
        provenance=provenance.provenance_spec(study),
        stage=stage_version("write_report"),
    shell:
        "python workflow_scripts/write_report.py {params.options:q} --provenance {params.provenance:q}"
        " --looks {input.looks:q} --distances {input.distances:q}"
        " --report {output.report:q} > {log:q} 2>&1"
