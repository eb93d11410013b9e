"""By how much M depends on choices: `snakemake sensitivity`, which the study itself does not need."""


rule variant:
    """Run some samples through one checkpoint, with one setting changed."""
    input:
        key=key("variant"),
        corpus=manifest("corpus", "corpus"),
        tokenizer=tokenizer_of_variant,
        checkpoint=above_variant("checkpoint"),
        loading_check=above_variant("loading_check"),
    output:
        manifest=manifest("variant"),
    log:
        log_file("variant"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        **resources_of("variant"),
    script:
        SCRIPT


rule sensitivity:
    """Put all variants beside the study's own settings."""
    input:
        variant=variants_of_study,
        checkpoint=[manifest("checkpoint", name) for name in VARIED],
        key=key("sensitivity", "sensitivity") if VARIED else [],
    output:
        [
            str(REPORTS / "sensitivity" / f"sensitivity.{suffix}")
            for suffix in ("csv", "md", "tex", "html", "pdf", "png")
        ],
        manifest=manifest("sensitivity", "sensitivity"),
    log:
        log_file("sensitivity", "sensitivity"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("sensitivity", "sensitivity"),
    script:
        SCRIPT
