# Analyse the results of a study: summaries, paired comparisons, errors, transfer, robustness to shift; and draw them.
#
# Needs  results/studies/{study}/{metrics,predictions}.csv, results/studies/{study}/experiments/{experiment}/{results,costs}.csv,
#        results/packs, results/scores, results/splits, results/thresholds  (of the study's cells, for what is known of
#        images and for pictures), results/studies/{study}/{distances,feature_drifts}.csv  (where distances are measured)
# Makes  results/studies/{study}/experiments/{experiment}/*.csv, summary.md, summary.tex  (plan.analyses)
#        results/studies/{study}/experiments/{experiment}/figures/, results/studies/{study}/figures/
#        results/studies/{study}/{robustness,cross_shift,distance_effects,feature_robustness}.csv


rule analyse_experiment:
    input:
        metrics=f"{study.folder}/metrics.csv",
        predictions=f"{study.folder}/predictions.csv",
        packs=lambda wildcards: sorted(
            {cell.pack for cell in study.cells[wildcards.experiment]}
        ),
        distances=exhibits.list_distance_tables(study),
    output:
        tables=[
            report(
                f"{study.folder}/experiments/{{experiment}}/{table}",
                category="Tables",
                labels={"of": "{experiment}", "table": table},
            )
            for table in analyses.EXPERIMENT_TABLES
        ],
    log:
        f"results/logs/analyse_experiment/{study.name}/{{experiment}}.log",
    benchmark:
        f"results/benchmarks/analyse_experiment/{study.name}/{{experiment}}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        options=analyses.options(study),
        stage=stage_version("analyse_experiment"),
    shell:
        "python workflow_scripts/analyse_experiment.py {params.options:q}"
        " --experiment {wildcards.experiment:q} --tables {output.tables:q} > {log:q} 2>&1"


rule analyse_study:
    input:
        metrics=f"{study.folder}/metrics.csv",
        predictions=f"{study.folder}/predictions.csv",
        distances=exhibits.list_distance_tables(study),
        drifts=exhibits.list_drift_tables(study),
    output:
        tables=[
            report(
                f"{study.folder}/{table}",
                category="Tables",
                labels={"of": "the study", "table": table},
            )
            for table in analyses.STUDY_TABLES
        ],
    log:
        f"results/logs/analyse_study/{study.name}.log",
    benchmark:
        f"results/benchmarks/analyse_study/{study.name}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        options=analyses.options(study),
        stage=stage_version("analyse_study"),
    shell:
        "python workflow_scripts/analyse_study.py {params.options:q} --tables {output.tables:q} > {log:q} 2>&1"


rule plot_experiment:
    input:
        metrics=f"{study.folder}/metrics.csv",
        predictions=f"{study.folder}/predictions.csv",
        results=f"{study.folder}/experiments/{{experiment}}/results.csv",
        costs=f"{study.folder}/experiments/{{experiment}}/costs.csv",
        tables=expand(
            f"{study.folder}/experiments/{{{{experiment}}}}/{{table}}",
            table=analyses.EXPERIMENT_TABLES,
        ),
        pictured=lambda wildcards: analyses.list_pictured(study, wildcards.experiment),
    output:
        figures=report(
            directory(f"{study.folder}/experiments/{{experiment}}/figures"),
            patterns=["{figure}.png"],
            category="Experiments",
            labels={"experiment": "{experiment}", "figure": "{figure}"},
        ),
    log:
        f"results/logs/plot_experiment/{study.name}/{{experiment}}.log",
    benchmark:
        f"results/benchmarks/plot_experiment/{study.name}/{{experiment}}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        options=analyses.options(study),
        stage=stage_version("plot_experiment"),
    shell:
        "python workflow_scripts/plot_experiment.py {params.options:q}"
        " --experiment {wildcards.experiment:q} --figures {output.figures:q} > {log:q} 2>&1"


rule plot_study:
    input:
        metrics=f"{study.folder}/metrics.csv",
        predictions=f"{study.folder}/predictions.csv",
        tables=expand(f"{study.folder}/{{table}}", table=analyses.STUDY_TABLES),
    output:
        figures=report(
            directory(f"{study.folder}/figures"),
            patterns=["{figure}.png"],
            category="Study",
            labels={"figure": "{figure}"},
        ),
    log:
        f"results/logs/plot_study/{study.name}.log",
    benchmark:
        f"results/benchmarks/plot_study/{study.name}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        options=analyses.options(study),
        stage=stage_version("plot_study"),
    shell:
        "python workflow_scripts/plot_study.py {params.options:q} --figures {output.figures:q} > {log:q} 2>&1"
