"""What quantizing activations costs."""


rule perplexity:
    """Compute the perplexity of a real checkpoint with each quantizer of the study."""
    input:
        key=key("perplexity"),
        tokens=tokens_of_checkpoint,
        checkpoint=manifest("checkpoint"),
        measure=manifest("measure"),
    output:
        manifest=manifest("perplexity"),
    log:
        log_file("perplexity"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        **resources_of("perplexity"),
    script:
        SCRIPT
