"""Where weights come from, and whether they were loaded rightly."""


def tokenizer_of_planted(wildcards):
    """A planted checkpoint has its family's tokenizer; a real one its own."""
    chosen = STUDY.checkpoint(wildcards.name)
    return manifest("checkpoint", STUDY.families[chosen.family].tokenizer) if chosen.planted else []


rule weights:
    """Put the weights of one checkpoint into the store, as safetensors."""
    input:
        key=key("checkpoint"),
        tokenizer=tokenizer_of_planted,
    output:
        manifest=manifest("checkpoint"),
    params:
        store=STORE,
        stage="checkpoint",
    log:
        log_file("checkpoint"),
    conda:
        ENVIRONMENT
    threads: THREADS
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
    params:
        store=STORE,
    log:
        log_file("loading_check"),
    conda:
        ENVIRONMENT
    threads: THREADS
    script:
        SCRIPT
