# Make the images of a domain: shifted ones and views, turned training images, crops of training defects, synthetic
# defects.
#
# Needs  results/images/{dataset}/{category}.csv, and the images it lists
#        results/splits/{dataset}/{category}/{split}.csv  (all but shifts and views: of the split that the domain names)
# Makes  results/domains/{dataset}/{category}/{domain}  (images, masks, index.csv)


rule synthesize_shift:
    input:
        index="results/images/{dataset}/{category}.csv",
    output:
        images=made("results/domains/{dataset}/{category}/{domain}"),
    log:
        "results/logs/synthesize_shift/{dataset}/{category}/{domain}.log",
    benchmark:
        "results/benchmarks/synthesize_shift/{dataset}/{category}/{domain}.tsv"
    wildcard_constraints:
        domain=f"{study.domains_of('shift')}|{study.domains_of('view')}",
    conda:
        "../envs/images.yaml"
    threads: workers_per_domain
    resources:
        mem_mb=lambda wildcards, threads: 1000 + 500 * threads,
        runtime=60,
    params:
        root=lambda wildcards: study.image_root(wildcards.dataset, wildcards.category),
        spec=lambda wildcards: study.domain_spec(wildcards.domain),
        stage=stage_version("synthesize_shift"),
    shell:
        "python workflow_scripts/synthesize_shift.py"
        " --index {input.index:q} --root {params.root:q} --spec {params.spec:q} --images {output.images:q}"
        " --workers {threads:q} > {log:q} 2>&1"


rule turn_images:
    input:
        index="results/images/{dataset}/{category}.csv",
        split=domain_split,
    output:
        images=made("results/domains/{dataset}/{category}/{domain}"),
    log:
        "results/logs/turn_images/{dataset}/{category}/{domain}.log",
    benchmark:
        "results/benchmarks/turn_images/{dataset}/{category}/{domain}.tsv"
    wildcard_constraints:
        domain=study.domains_of("turns"),
    conda:
        "../envs/images.yaml"
    threads: workers_per_domain
    resources:
        mem_mb=lambda wildcards, threads: 1000 + 500 * threads,
        runtime=60,
    params:
        root=lambda wildcards: study.image_root(wildcards.dataset, wildcards.category),
        spec=lambda wildcards: study.domain_spec(wildcards.domain),
        stage=stage_version("turn_images"),
    shell:
        "python workflow_scripts/turn_images.py"
        " --index {input.index:q} --split {input.split:q} --root {params.root:q} --spec {params.spec:q}"
        " --images {output.images:q} --workers {threads:q} > {log:q} 2>&1"


rule crop_defects:
    input:
        index="results/images/{dataset}/{category}.csv",
        split=domain_split,
    output:
        images=made("results/domains/{dataset}/{category}/{domain}"),
    log:
        "results/logs/crop_defects/{dataset}/{category}/{domain}.log",
    benchmark:
        "results/benchmarks/crop_defects/{dataset}/{category}/{domain}.tsv"
    wildcard_constraints:
        domain=study.domains_of("crops"),
    conda:
        "../envs/images.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        root=lambda wildcards: study.image_root(wildcards.dataset, wildcards.category),
        own=lambda wildcards: options(
            data_dir=[study.config.data_dir]
            * bool(study.own_defects(wildcards.domain))
        ),
        own_images=lambda wildcards: study.own_defects_fingerprint(wildcards.domain),
        spec=lambda wildcards: study.domain_spec(wildcards.domain),
        stage=stage_version("crop_defects"),
    shell:
        "python workflow_scripts/crop_defects.py"
        " --index {input.index:q} --split {input.split:q} --root {params.root:q} {params.own:q}"
        " --spec {params.spec:q} --images {output.images:q} > {log:q} 2>&1"


rule synthesize_defects:
    input:
        index="results/images/{dataset}/{category}.csv",
        split=domain_split,
    output:
        images=made("results/domains/{dataset}/{category}/{domain}"),
    log:
        "results/logs/synthesize_defects/{dataset}/{category}/{domain}.log",
    benchmark:
        "results/benchmarks/synthesize_defects/{dataset}/{category}/{domain}.tsv"
    wildcard_constraints:
        domain=study.domains_of("synthesis"),
    conda:
        "../envs/diffusion.yaml"
    resources:
        mem_mb=4000,
        runtime=480,
        gpu=lambda wildcards: int(study.paints(wildcards.domain)),
    params:
        root=lambda wildcards: study.image_root(wildcards.dataset, wildcards.category),
        own=lambda wildcards: options(
            data_dir=[study.config.data_dir]
            * bool(study.own_defects(wildcards.domain))
        ),
        own_images=lambda wildcards: study.own_defects_fingerprint(wildcards.domain),
        weights=lambda wildcards: options(
            weights_dir=[study.config.weights_dir] * study.paints(wildcards.domain)
        ),
        spec=lambda wildcards: study.domain_spec(wildcards.domain),
        stage=stage_version("synthesize_defects"),
    shell:
        "python workflow_scripts/synthesize_defects.py"
        " --index {input.index:q} --split {input.split:q} --root {params.root:q} {params.own:q} {params.weights:q}"
        " --spec {params.spec:q} --images {output.images:q} > {log:q} 2>&1"
