"""What people look at: tables, figures, and one report."""

import os
import sys
from itertools import filterfalse

from snakemake.cli import get_argument_parser

from maxact.figures.registry import FIGURES
from maxact.results.registry import CLAIMS, SUFFIXES, TABLES, made_of
from maxact.results.targets import refuse_unknown_targets

TABLES_OF_STUDY = made_of(TABLES, STUDY.provides)
FIGURES_OF_STUDY = made_of(FIGURES, STUDY.provides)
if workflow.is_main_process:
    # The workflow has its targets only once it is read, so they are read off the command line again.
    asked, _ = get_argument_parser().parse_known_args()
    try:
        refuse_unknown_targets(
            filterfalse(workflow.is_rule, sorted(asked.targets)),
            STUDY.study,
            {"figures": FIGURES_OF_STUDY, "tables": TABLES_OF_STUDY},
            {"figures": FIGURES, "tables": TABLES},
        )
    except UserError as error:
        raise WorkflowError(f"error: {error}") from None
REPORT = str(REPORTS / "report.html")
# Relative, so that a copy of the folder elsewhere has the same inputs.
CAPTIONS = sorted(
    map(os.path.relpath, Path(workflow.basedir, "reports", "captions").glob("*/*.rst"))
)


rule results:
    """Join all measurements, or what is published of them, into tables."""
    input:
        **above_results(),
        key=key("results", "results"),
    output:
        [
            str(REPORTS / "tables" / f"{name}.{suffix}")
            for name in TABLES_OF_STUDY
            for suffix in SUFFIXES[:-1]
        ],
        [
            described("tables", name, SUFFIXES[-1], entry)
            for name, entry in TABLES_OF_STUDY.items()
        ],
        page_files(CLAIMS),
        manifest=manifest("results", "results"),
    log:
        log_file("results", "results"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("results", "results"),
    script:
        SCRIPT


for figure, entry in FIGURES_OF_STUDY.items():

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
        localrule: True
        conda:
            ENVIRONMENT
        resources:
            **resources_of("figures", figure),
            local_jobs=1,  # which profiles/slurm limits
        params:
            stage="figures",
        script:
            SCRIPT


rule study_report:
    """Bind tables and figures into one HTML file."""
    input:
        rules.results.output,
        rules.audit.output if PUBLISHED else [],
        [getattr(rules, f"figure_{figure}").output for figure in FIGURES_OF_STUDY],
        captions=CAPTIONS,
    output:
        REPORT,
    log:
        log_file("report", "report"),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        **resources_of("report", "report"),
        local_jobs=1,
    params:
        python=sys.executable,
        snakefile=workflow.main_snakefile,
        study=str(ARTIFACTS / "study.yaml"),
    shell:
        "{params.python:q} -m snakemake --snakefile {params.snakefile:q} --configfile {params.study:q} --report {output:q} --nolock"
        " > {log:q} 2>&1"
