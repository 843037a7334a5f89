# Fit detectors on the cached features of normal training images. A pool is fitted on all its members.
#
# Needs  results/features/{dataset}/{category}/{domain}/{backbone}.h5   (of each member)
#        results/splits/{dataset}/{category}/{split}.csv                (of each member)
#        features and packs of domains of turned images and of defects, where the detector takes them
# Makes  results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.h5; in several jobs where
#        the detector has `shards`: `fit_representation`, `choose_shard` for each, whose picks `fit_detector` joins


rule fit_representation:
    input:
        features=member_features,
        splits=member_splits,
        turned=lambda wildcards: member_features(
            wildcards, training_inputs.turned_domains(study, wildcards.detector)
        ),
    output:
        representation=temp(
            "results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.shards/representation.h5"
        ),
    log:
        "results/logs/fit_representation/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.log",
    benchmark:
        "results/benchmarks/fit_representation/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.tsv"
    wildcard_constraints:
        detector=sharding.name_detectors(study),
    conda:
        "../envs/numeric.yaml"
    threads: lambda wildcards: study.catalog.detectors[wildcards.detector].threads
    resources:
        mem_mb=lambda wildcards: training_inputs.representation_memory(
            study, wildcards.detector
        ),
        runtime=60,
    params:
        members=member_names,
        more=lambda wildcards, input: options(turned=input.turned),
        spec=lambda wildcards: study.fit_spec(wildcards.detector),
        stage=stage_version("fit_representation"),
    shell:
        "python workflow_scripts/fit_representation.py"
        " --members {params.members:q} --features {input.features:q} --splits {input.splits:q} {params.more:q}"
        " --spec {params.spec:q} --seed {wildcards.seed} --stage {params.stage:q}"
        " --representation {output.representation:q} > {log:q} 2>&1"


rule choose_shard:
    input:
        features=member_features,
        splits=member_splits,
        turned=lambda wildcards: member_features(
            wildcards, training_inputs.turned_domains(study, wildcards.detector)
        ),
        representation=lambda wildcards: sharding.list_bank_representation(
            study, dict(wildcards.items())
        ),
    output:
        picks=temp(
            "results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.shards/{shard}of{shards}.h5"
        ),
    log:
        "results/logs/choose_shard/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.shards/{shard}of{shards}.log",
    benchmark:
        "results/benchmarks/choose_shard/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.shards/{shard}of{shards}.tsv"
    wildcard_constraints:
        detector=sharding.name_detectors(study),
        shard=sharding.NUMBER,
        shards=sharding.match_detector_counts(study),
    conda:
        "../envs/numeric.yaml"
    threads: lambda wildcards: study.catalog.detectors[wildcards.detector].threads
    resources:
        mem_mb=lambda wildcards: training_inputs.fit_memory(study, wildcards.detector),
        runtime=60,
    params:
        members=member_names,
        more=lambda wildcards, input: options(turned=input.turned),
        spec=lambda wildcards: study.fit_spec(wildcards.detector),
        stage=stage_version("choose_shard"),
        representation_stage=stage_version("fit_representation"),
    shell:
        "python workflow_scripts/choose_shard.py"
        " --members {params.members:q} --features {input.features:q} --splits {input.splits:q} {params.more:q}"
        " --representation {input.representation:q} --representation-stage {params.representation_stage:q}"
        " --shard {wildcards.shard:q} --shards {wildcards.shards:q}"
        " --spec {params.spec:q} --seed {wildcards.seed} --stage {params.stage:q} --picks {output.picks:q}"
        " > {log:q} 2>&1"


rule fit_detector:
    input:
        features=member_features,
        splits=member_splits,
        turned=lambda wildcards: member_features(
            wildcards, training_inputs.turned_domains(study, wildcards.detector)
        ),
        packs=lambda wildcards: member_packs(
            wildcards,
            [wildcards.domain]
            * training_inputs.takes_training_defects(study, wildcards.detector),
        ),
        indexes=lambda wildcards: [
            f"results/images/{member}.csv"
            for member in member_names(wildcards)
            * training_inputs.takes_training_defects(study, wildcards.detector)
        ],
        positives=lambda wildcards: member_features(
            wildcards, training_inputs.positive_domains(study, wildcards.detector)
        ),
        positive_packs=lambda wildcards: member_packs(
            wildcards, training_inputs.positive_domains(study, wildcards.detector)
        ),
        representation=lambda wildcards: sharding.list_bank_representation(
            study, dict(wildcards.items())
        ),
        shards=lambda wildcards: sharding.list_bank_shards(
            study, dict(wildcards.items())
        ),
    output:
        bank="results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.h5",
    log:
        "results/logs/fit_detector/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.log",
    benchmark:
        "results/benchmarks/fit_detector/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.tsv"
    wildcard_constraints:
        detector=external.name_detectors(study, fitted=True),
    conda:
        "../envs/numeric.yaml"
    threads: lambda wildcards: study.catalog.detectors[wildcards.detector].threads
    resources:
        mem_mb=lambda wildcards: training_inputs.fit_memory(study, wildcards.detector),
        runtime=60,
    params:
        members=member_names,
        more=lambda wildcards, input: options(
            turned=input.turned,
            packs=input.packs,
            indexes=input.indexes,
            positives=input.positives,
            positive_packs=input.positive_packs,
            representation=input.representation,
            shards=input.shards,
        ),
        # Apart: with `input`, Snakemake would not compare it.
        shard_stages=lambda wildcards: options(
            shard_stages=sharding.list_shard_versions(study, wildcards.detector)
        ),
        spec=lambda wildcards: study.fit_spec(wildcards.detector),
        stage=stage_version("fit_detector"),
    shell:
        "python workflow_scripts/fit_detector.py"
        " --members {params.members:q} --features {input.features:q} --splits {input.splits:q} {params.more:q}"
        " {params.shard_stages:q} --spec {params.spec:q} --seed {wildcards.seed} --stage {params.stage:q} --bank {output.bank:q}"
        " > {log:q} 2>&1"
