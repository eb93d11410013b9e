"""What a histogram cannot give: one more forward pass, over the evaluation split."""


rule evaluate:
    """Compute errors of scales that channels, tokens, groups and blocks share, and what protecting some elements would save."""
    input:
        key=key("evaluate"),
        tokens=tokens_of_checkpoint,
        checkpoint=manifest("checkpoint"),
        loading_check=loading_check_of,
        measure=manifest("measure"),
    output:
        manifest=manifest("evaluate"),
    log:
        log_file("evaluate"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        **resources_of("evaluate"),
    script:
        SCRIPT
