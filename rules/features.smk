# Pass all images of a domain through a backbone once; keep the raw layer maps.
#
# Needs  results/images/{dataset}/{category}.csv (clean) or results/domains/{dataset}/{category}/{domain};
#        the backbone's weight file in weights_dir, if it has one
# Makes  results/features/{dataset}/{category}/{domain}/{backbone}.h5; several in one job where the study says
#        `batch_categories`: a rule without wildcards for each batch, which Snakemake prefers; one in several jobs where
#        the backbone has `shards`: `extract_shard` for each, whose files `merge_features` joins

EXTRACTION_MINUTES = 240  # per target
EXTRACTION_CARDS = int(study.config.device == "cuda")  # `auto` may find none


rule extract_features:
    input:
        images=domain_inputs,
        weights=lambda wildcards: weights.weight_inputs(study, wildcards.backbone),
    output:
        features="results/features/{dataset}/{category}/{domain}/{backbone}.h5",
    log:
        "results/logs/extract_features/{dataset}/{category}/{domain}/{backbone}.log",
    benchmark:
        "results/benchmarks/extract_features/{dataset}/{category}/{domain}/{backbone}.tsv"
    wildcard_constraints:
        backbone=sharding.name_backbones(study, sharded=False),
    conda:
        "../envs/torch.yaml"
    threads: lambda wildcards: extraction.count_cores(study, wildcards.backbone)
    resources:
        mem_mb=lambda wildcards: extraction.count_memory(study, wildcards.backbone),
        gpu=EXTRACTION_CARDS,
        runtime=EXTRACTION_MINUTES,
    params:
        index=domain_index,
        root=domain_root,
        weights=lambda wildcards: weights_options(wildcards.backbone),
        # With `output`, Snakemake does not compare it: no feature depends on it.
        device=lambda wildcards, output: extraction_options(wildcards.backbone),
        spec=lambda wildcards: study.backbone_spec(wildcards.backbone),
        stage=stage_version("extract_features"),
    shell:
        "python workflow_scripts/extract_features.py"
        " --index {params.index:q} --root {params.root:q} {params.weights:q} {params.device:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --features {output.features:q} > {log:q} 2>&1"


rule extract_shard:
    input:
        images=domain_inputs,
        weights=lambda wildcards: weights.weight_inputs(study, wildcards.backbone),
    output:
        features=temp(
            "results/features/{dataset}/{category}/{domain}/{backbone}.shards/{shard}of{shards}.h5"
        ),
    log:
        "results/logs/extract_shard/{dataset}/{category}/{domain}/{backbone}.shards/{shard}of{shards}.log",
    benchmark:
        "results/benchmarks/extract_shard/{dataset}/{category}/{domain}/{backbone}.shards/{shard}of{shards}.tsv"
    wildcard_constraints:
        backbone=sharding.name_backbones(study, sharded=True),
        shard=sharding.NUMBER,
        shards=sharding.match_backbone_counts(study),
    conda:
        "../envs/torch.yaml"
    threads: lambda wildcards: extraction.count_cores(study, wildcards.backbone)
    resources:
        mem_mb=lambda wildcards: extraction.count_memory(study, wildcards.backbone),
        gpu=EXTRACTION_CARDS,
        runtime=EXTRACTION_MINUTES,
    params:
        index=domain_index,
        root=domain_root,
        weights=lambda wildcards: weights_options(wildcards.backbone),
        device=lambda wildcards, output: extraction_options(wildcards.backbone),
        spec=lambda wildcards: study.backbone_spec(wildcards.backbone),
        stage=stage_version("extract_shard"),
        whole_stage=stage_version("extract_features"),
    shell:
        "python workflow_scripts/extract_shard.py"
        " --index {params.index:q} --root {params.root:q} {params.weights:q} {params.device:q}"
        " --spec {params.spec:q} --shard {wildcards.shard:q} --shards {wildcards.shards:q}"
        " --stage {params.stage:q} --whole-stage {params.whole_stage:q} --features {output.features:q} > {log:q} 2>&1"


rule merge_features:
    input:
        shards=lambda wildcards: sharding.list_feature_shards(
            study, dict(wildcards.items())
        ),
        images=domain_inputs,
    output:
        features="results/features/{dataset}/{category}/{domain}/{backbone}.h5",
    log:
        "results/logs/merge_features/{dataset}/{category}/{domain}/{backbone}.log",
    benchmark:
        "results/benchmarks/merge_features/{dataset}/{category}/{domain}/{backbone}.tsv"
    wildcard_constraints:
        backbone=sharding.name_backbones(study, sharded=True),
    conda:
        "../envs/numeric.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        index=domain_index,
        spec=lambda wildcards: study.backbone_spec(wildcards.backbone),
        stage=stage_version("merge_features"),
        shard_stage=stage_version("extract_shard"),
        whole_stage=stage_version("extract_features"),
    shell:
        "python workflow_scripts/merge_features.py"
        " --shards {input.shards:q} --index {params.index:q} --spec {params.spec:q}"
        " --shard-stage {params.shard_stage:q} --whole-stage {params.whole_stage:q}"
        " --features {output.features:q} > {log:q} 2>&1"


for batch in batches.list_batches(study):

    rule:
        name:
            batch.rule
        input:
            images=[domain_inputs(target) for target in batch.targets],
            weights=weights.weight_inputs(study, batch.backbone),
        output:
            features=batch.features,
        log:
            f"results/logs/extract_features/{batch.name}.log",
        benchmark:
            f"results/benchmarks/extract_features/{batch.name}.tsv"
        conda:
            rules.extract_features.rule.conda_env
        threads: extraction.count_cores(study, batch.backbone)
        resources:
            mem_mb=extraction.count_memory(study, batch.backbone),
            gpu=EXTRACTION_CARDS,
            runtime=EXTRACTION_MINUTES * len(batch.targets),
        params:
            index=for_each_target(batch, find_index),
            root=for_each_target(batch, find_root),
            weights=weights_options(batch.backbone),
            device=batch_options(batch),
            spec=study.backbone_spec(batch.backbone),
            stage=stage_version("extract_features"),
        shell:
            rules.extract_features.rule.shellcmd
