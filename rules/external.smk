# Read the scores of another method for the validation and test images of a target, in place of a bank's.
#
# Needs  {data_dir}/{folder of the detector}/{target_dataset}/{target_category}/{target_domain}.csv, and the maps that it
#        names; results/images/{target_dataset}/{target_category}.csv (clean) or
#        results/domains/{target_dataset}/{target_category}/{target_domain};
#        results/splits/{target_dataset}/{target_category}/{split}.csv  (without: all images, of synthetic defects)
# Makes  results/scores/<bank>/on/{target_dataset}/{target_category}/{target_domain}.h5


rule import_scores:
    input:
        table=lambda wildcards: external.table_inputs(
            study, wildcards.detector, scored_target(wildcards)
        ),
        images=lambda wildcards: domain_inputs(scored_target(wildcards)),
        split=target_split,
    output:
        scores="results/scores/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.h5",
    log:
        "results/logs/import_scores/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.log",
    benchmark:
        "results/benchmarks/import_scores/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.tsv"
    wildcard_constraints:
        detector=external.name_detectors(study, fitted=False),
    conda:
        "../envs/numeric.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        table=lambda wildcards: str(
            external.find_table(study, wildcards.detector, scored_target(wildcards))
        ),
        maps=lambda wildcards: external.fingerprint_maps(
            study, wildcards.detector, scored_target(wildcards)
        ),
        index=lambda wildcards, input: find_index(
            scored_target(wildcards), input.images
        ),
        root=lambda wildcards, input: find_root(scored_target(wildcards), input.images),
        which=lambda wildcards, input: options(split=input.split),
        spec=lambda wildcards: external.import_spec(study, wildcards.detector),
        stage=stage_version("import_scores"),
    shell:
        "python workflow_scripts/import_scores.py"
        " --table {params.table:q} --index {params.index:q} --root {params.root:q} {params.which:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --scores {output.scores:q} > {log:q} 2>&1"
