"""Where weights come from, and whether they were loaded rightly."""


rule weights:
    """Put the weights of one checkpoint into the store, as safetensors."""
    input:
        key=key("checkpoint"),
        tokenizer=tokenizer_of_planted,
    output:
        manifest=manifest("checkpoint"),
    log:
        log_file("checkpoint"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("checkpoint"),
    params:
        stage="checkpoint",
    script:
        SCRIPT


rule loading_check:
    """Compute the perplexity of a real checkpoint; above its ceiling the study stops."""
    input:
        key=key("loading_check"),
        tokens=tokens_of_checkpoint,
        checkpoint=manifest("checkpoint"),
    output:
        manifest=manifest("loading_check"),
    log:
        log_file("loading_check"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        **resources_of("loading_check"),
    script:
        SCRIPT
