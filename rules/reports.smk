# Write a study's printed report.
#
# Needs  tables and figures of a study (rules/studies.smk, rules/analyses.smk), results/thresholds, data cards
# Makes  results/studies/{study}/report.pdf


rule write_pdf:
    input:
        metrics=f"{study.folder}/metrics.csv",
        predictions=f"{study.folder}/predictions.csv",
        thresholds=sorted({cell.threshold_file for cell in study.all_cells()}),
        cards=expand(
            f"{study.folder}/data_cards/{{dataset}}.json",
            dataset=exhibits.card_datasets(study),
        ),
        tables=analyses.list_tables(study),
        figures=analyses.list_figure_folders(study),
    output:
        pdf=report(
            f"{study.folder}/report.pdf",
            category="Report",
            labels={"study": study.name, "figure": "the printed report"},
        ),
    log:
        f"results/logs/write_pdf/{study.name}.log",
    benchmark:
        f"results/benchmarks/write_pdf/{study.name}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        options=analyses.options(study),
        provenance=provenance.provenance_spec(study),
        stage=stage_version("write_pdf"),
    shell:
        "python workflow_scripts/write_pdf.py {params.options:q} --provenance {params.provenance:q}"
        " --pdf {output.pdf:q} > {log:q} 2>&1"
