"""One forward pass over the corpus, and what follows from it without another."""


rule measure:
    """Run every sample through one checkpoint and keep the exact distribution at every site."""
    input:
        key=key("measure"),
        tokens=tokens_of_checkpoint,
        checkpoint=manifest("checkpoint"),
        loading_check=loading_check_of,
        shard=shards_of_checkpoint,
    output:
        manifest=manifest("measure"),
    log:
        log_file("measure"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        **resources_of("measure"),
    script:
        SCRIPT


rule shard:
    """Run every so-manieth sample through one checkpoint, for `measure` to join."""
    input:
        key=key("shard"),
        whole=of_whole(lambda wildcards: key("measure", wildcards.name)),
        tokens=of_whole(tokens_of_checkpoint),
        checkpoint=of_whole(lambda wildcards: manifest("checkpoint", wildcards.name)),
        loading_check=of_whole(loading_check_of),
    output:
        manifest=manifest("shard"),
    log:
        log_file("shard"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        **resources_of("shard"),
    params:
        part_of="measure",
    script:
        SCRIPT


rule paper_check:
    """Run the first lines of the corpus through one checkpoint, as far as the peak of its residual stream."""
    input:
        key=key("paper_check"),
        tokens=tokens_of_checkpoint,
        checkpoint=manifest("checkpoint"),
        measure=manifest("measure"),
    output:
        manifest=manifest("paper_check"),
    log:
        log_file("paper_check"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        **resources_of("paper_check"),
    script:
        SCRIPT


rule quantize:
    """Compute what every 16-bit site loses in each format, and how many bits it needs, from the stored histograms."""
    input:
        key=key("quantize"),
        measure=manifest("measure"),
    output:
        manifest=manifest("quantize"),
    log:
        log_file("quantize"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("quantize"),
    script:
        SCRIPT
