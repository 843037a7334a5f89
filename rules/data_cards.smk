# Say what a dataset is like: counts, splits, sizes, defects, examples.
#
# Needs  results/images, results/splits, results/packs  (clean; of the categories and splits that the study uses)
# Makes  results/studies/{study}/data_cards/{dataset}.html, .json


rule write_data_card:
    input:
        indexes=lambda wildcards: expand(
            "results/images/{{dataset}}/{category}.csv",
            category=exhibits.card_categories(study, wildcards.dataset),
        ),
        packs=lambda wildcards: expand(
            "results/packs/{{dataset}}/{category}/clean.h5",
            category=exhibits.card_categories(study, wildcards.dataset),
        ),
        splits=lambda wildcards: expand(
            "results/splits/{{dataset}}/{category}/{split}.csv",
            category=exhibits.card_categories(study, wildcards.dataset),
            split=exhibits.card_splits(study, wildcards.dataset),
        ),
    output:
        card=f"{study.folder}/data_cards/{{dataset}}.json",
        page=report(
            f"{study.folder}/data_cards/{{dataset}}.html",
            category="Data cards",
            labels={"dataset": "{dataset}"},
        ),
    log:
        f"results/logs/write_data_card/{study.name}/{{dataset}}.log",
    benchmark:
        f"results/benchmarks/write_data_card/{study.name}/{{dataset}}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        categories=lambda wildcards: exhibits.card_categories(study, wildcards.dataset),
        splits=lambda wildcards: exhibits.card_splits(study, wildcards.dataset),
        settings=lambda wildcards: study.card_spec(wildcards.dataset),
        stage=stage_version("write_data_card"),
    shell:
        "python workflow_scripts/write_data_card.py --dataset {wildcards.dataset:q}"
        " --categories {params.categories:q} --splits {params.splits:q} --settings {params.settings:q}"
        " --stage {params.stage:q} --json {output.card:q} --html {output.page:q} > {log:q} 2>&1"
