"""The authors' published results in the place of corpus, weights and measurements."""


rule published:
    """Read and check the result files: a folder that is given, or their repository."""
    input:
        key=key("published", "published"),
    output:
        manifest=manifest("published", "published"),
    log:
        log_file("published", "published"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("published", "published"),
    script:
        SCRIPT
