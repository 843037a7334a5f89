# Fit detectors on the cached features of normal training images. A pool is fitted on all its members.
#
# Needs  results/features/{dataset}/{category}/{domain}/{backbone}.h5   (of each member)
#        results/splits/{dataset}/{category}/{split}.csv                (of each member)
#        features and packs of domains of turned images and of defects, where the detector takes them
# Makes  results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.h5


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
        ),
        spec=lambda wildcards: study.fit_spec(wildcards.detector),
        stage=stage_version("fit_detector"),
    shell:
        "python workflow_scripts/fit_detector.py"
        " --members {params.members:q} --features {input.features:q} --splits {input.splits:q} {params.more:q}"
        " --spec {params.spec:q} --seed {wildcards.seed} --stage {params.stage:q} --bank {output.bank:q}"
        " > {log:q} 2>&1"
