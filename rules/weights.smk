# Download the weight files of backbones.
#
# Makes  {weights_dir}/{weights}.receipt.json, and beside it the weight file. A file that is there is used as it is


localrules:
    fetch_weights,


rule fetch_weights:
    output:
        # Updated: what it says of an earlier download is not deleted before the job.
        receipt=update(str(weights.weight_receipt(study, "{weights}"))),
    log:
        "results/logs/fetch_weights/{weights}.log",
    benchmark:
        "results/benchmarks/fetch_weights/{weights}.tsv"
    conda:
        "../envs/images.yaml"
    resources:
        mem_mb=1000,
        runtime=1440,
    params:
        folder=lambda wildcards: study.config.weights_dir,
        # With `output`, Snakemake does not compare it: an edit of the licence's text fetches nothing again.
        spec=lambda wildcards, output: weights.weights_spec(
            study, wildcards.weights
        ).canonical(),
        stage=stage_version("fetch_weights"),
    # The progress bar goes to the terminal, past the log.
    shell:
        "python workflow_scripts/fetch_weights.py"
        " --spec {params.spec:q} --weights-dir {params.folder:q} --receipt {output.receipt:q} --progress-fd 3"
        " 3>&2 > {log:q} 2>&1"
