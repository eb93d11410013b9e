"""What people look at: tables, figures, and one report."""

import os
import sys

from maxact.figures.registry import FIGURES
from maxact.results.registry import SUFFIXES, TABLES

REPORT = str(REPORTS / "report.html")
# Relative, so that a copy of the folder elsewhere has the same inputs.
CAPTIONS = sorted(
    map(os.path.relpath, Path(workflow.basedir, "reports", "captions").glob("*/*.rst"))
)
FAMILIES = sorted({item.family for item in STUDY.checkpoints})


rule results:
    """Join all measurements into tables."""
    input:
        key=key("results", "results"),
        tokens=[manifest("tokens", family) for family in FAMILIES],
        checkpoint=[manifest("checkpoint", name) for name in CHECKPOINTS],
        loading_check=[manifest("loading_check", name) for name in REAL],
        measure=[manifest("measure", name) for name in CHECKPOINTS],
        quantize=[manifest("quantize", name) for name in CHECKPOINTS],
    output:
        [
            str(REPORTS / "tables" / f"{name}.{suffix}")
            for name in TABLES
            for suffix in SUFFIXES[:-1]
        ],
        [
            described("tables", name, SUFFIXES[-1], entry)
            for name, entry in TABLES.items()
        ],
        manifest=manifest("results", "results"),
    log:
        log_file("results", "results"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("results", "results"),
    script:
        SCRIPT


for figure, entry in FIGURES.items():

    rule:
        name:
            f"figure_{figure}"
        input:
            key=key("figures", figure),
            results=manifest("results", "results"),
        output:
            described("figures", figure, "pdf", entry),
            str(REPORTS / "figures" / f"{figure}.png"),
            manifest=manifest("figures", figure),
        log:
            log_file("figures", figure),
        conda:
            ENVIRONMENT
        resources:
            **resources_of("figures", figure),
        params:
            stage="figures",
        script:
            SCRIPT


rule study_report:
    """Bind tables and figures into one HTML file."""
    input:
        rules.results.output,
        [getattr(rules, f"figure_{figure}").output for figure in FIGURES],
        captions=CAPTIONS,
    output:
        REPORT,
    log:
        log_file("report", "report"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("report", "report"),
    params:
        python=sys.executable,
        snakefile=workflow.main_snakefile,
        study=str(ARTIFACTS / "study.yaml"),
    shell:
        "{params.python:q} -m snakemake --snakefile {params.snakefile:q} --configfile {params.study:q} --report {output:q} --nolock"
        " > {log:q} 2>&1"
