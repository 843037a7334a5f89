# Look inside the features of a category; only where a study asks for it (`inspection`).
#
# Needs  results/features/{dataset}/{category}/{domain}/{backbone}.h5, results/packs/{dataset}/{category}/{domain}.h5
#        results/splits/{dataset}/{category}/{split}.csv; for attention the images and the backbone's weight file
# Makes  results/inspections/{study}/{dataset}/{category}/{domain}/{split}/{backbone}.h5,
#        results/attention/{study}/{dataset}/{category}/{domain}/{split}/{backbone}.h5  (vision transformers),
#        figures and separability.csv in results/studies/{study}/inspections/{dataset}/{category}/{backbone}/


rule inspect_features:
    input:
        features="results/features/{dataset}/{category}/{domain}/{backbone}.h5",
        pack="results/packs/{dataset}/{category}/{domain}.h5",
        split="results/splits/{dataset}/{category}/{split}.csv",
    output:
        inspection=f"results/inspections/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}.h5",
    log:
        f"results/logs/inspect_features/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}.log",
    benchmark:
        f"results/benchmarks/inspect_features/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}.tsv"
    conda:
        "../envs/numeric.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        spec=lambda wildcards: ask(inspections.look_spec),
        stage=stage_version("inspect_features"),
    shell:
        "python workflow_scripts/inspect_features.py"
        " --features {input.features:q} --pack {input.pack:q} --split {input.split:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --inspection {output.inspection:q} > {log:q} 2>&1"


rule trace_attention:
    input:
        images=domain_inputs,
        pack="results/packs/{dataset}/{category}/{domain}.h5",
        split="results/splits/{dataset}/{category}/{split}.csv",
        weights=lambda wildcards: weights.weight_inputs(study, wildcards.backbone),
    output:
        attention=f"results/attention/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}.h5",
    log:
        f"results/logs/trace_attention/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}.log",
    benchmark:
        f"results/benchmarks/trace_attention/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: lambda wildcards: study.catalog.backbones[wildcards.backbone].threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        index=domain_index,
        root=domain_root,
        weights=lambda wildcards: weights_options(wildcards.backbone),
        spec=lambda wildcards: inspections.attention_spec(study, wildcards.backbone),
        choice=lambda wildcards: ask(inspections.choice_spec),
        stage=stage_version("trace_attention"),
    shell:
        "python workflow_scripts/trace_attention.py"
        " --index {params.index:q} --root {params.root:q} --pack {input.pack:q} --split {input.split:q}"
        " {params.weights:q} --spec {params.spec:q} --choice {params.choice:q} --stage {params.stage:q}"
        " --attention {output.attention:q} > {log:q} 2>&1"


rule plot_inspection:
    input:
        inspection=lambda wildcards: find_look(wildcards).measured,
        pack="results/packs/{dataset}/{category}/clean.h5",
    output:
        patch_map=report(
            f"{study.folder}/inspections/{{dataset}}/{{category}}/{{backbone}}/patch_map.png",
            category="Features",
            labels={
                "category": "{dataset}/{category}",
                "backbone": "{backbone}",
                "figure": "map of patches",
            },
        ),
        separability=report(
            f"{study.folder}/inspections/{{dataset}}/{{category}}/{{backbone}}/separability.png",
            category="Features",
            labels={
                "category": "{dataset}/{category}",
                "backbone": "{backbone}",
                "figure": "separability by layer",
            },
        ),
        energy=report(
            f"{study.folder}/inspections/{{dataset}}/{{category}}/{{backbone}}/activation_energy.png",
            category="Features",
            labels={
                "category": "{dataset}/{category}",
                "backbone": "{backbone}",
                "figure": "activation energy",
            },
        ),
        table=f"{study.folder}/inspections/{{dataset}}/{{category}}/{{backbone}}/separability.csv",
    log:
        f"results/logs/plot_inspection/{study.name}/{{dataset}}/{{category}}/{{backbone}}.log",
    benchmark:
        f"results/benchmarks/plot_inspection/{study.name}/{{dataset}}/{{category}}/{{backbone}}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        name="{dataset}/{category}",
        weights=lambda wildcards: study.plan.weights[wildcards.backbone],
        stage=stage_version("plot_inspection"),
    shell:
        "python workflow_scripts/plot_inspection.py --inspection {input.inspection:q} --pack {input.pack:q}"
        " --category {params.name:q} --backbone {wildcards.backbone:q} --weights {params.weights:q}"
        " --patch-map {output.patch_map:q} --separability {output.separability:q} --energy {output.energy:q}"
        " --table {output.table:q} > {log:q} 2>&1"


rule plot_attention:
    input:
        attention=lambda wildcards: find_look(wildcards).attention,
        pack="results/packs/{dataset}/{category}/clean.h5",
    output:
        figure=report(
            f"{study.folder}/inspections/{{dataset}}/{{category}}/{{backbone}}/attention.png",
            category="Features",
            labels={
                "category": "{dataset}/{category}",
                "backbone": "{backbone}",
                "figure": "attention of the class token",
            },
        ),
    log:
        f"results/logs/plot_attention/{study.name}/{{dataset}}/{{category}}/{{backbone}}.log",
    benchmark:
        f"results/benchmarks/plot_attention/{study.name}/{{dataset}}/{{category}}/{{backbone}}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        name="{dataset}/{category}",
        weights=lambda wildcards: study.plan.weights[wildcards.backbone],
        stage=stage_version("plot_attention"),
    shell:
        "python workflow_scripts/plot_attention.py --attention {input.attention:q} --pack {input.pack:q}"
        " --category {params.name:q} --backbone {wildcards.backbone:q} --weights {params.weights:q}"
        " --figure {output.figure:q} > {log:q} 2>&1"
