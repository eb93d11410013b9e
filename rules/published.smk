"""The authors' published results in the place of corpus, weights and measurements."""

from maxact.results.registry import AUDIT


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


rule audit:
    """Look for faults in the result files, and tell those that the authors' code shows."""
    input:
        key=key("audit", "audit"),
    output:
        page_files(AUDIT),
        manifest=manifest("audit", "audit"),
    log:
        log_file("audit", "audit"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("audit", "audit"),
    script:
        SCRIPT
