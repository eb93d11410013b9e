"""What people look at: tables, figures, and one report."""

from maxact.figures.registry import FIGURES
from maxact.results.registry import TABLES

REPORT = str(REPORTS / "report.html")
FAMILIES = sorted({checkpoint.family for checkpoint in STUDY.checkpoints})
CAPTIONS = "../reports/captions"


def described(path, name, entry):
    """Mark a file for the report, with its caption, category and label."""
    caption = f"{CAPTIONS}/{name}.rst"
    return report(path, caption=caption, category=entry.category, labels={"what": entry.title})


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
        [str(REPORTS / "tables" / f"{name}.md") for name in TABLES],
        [described(str(REPORTS / "tables" / f"{name}.csv"), name, entry) for name, entry in TABLES.items()],
        manifest=manifest("results", "results"),
    params:
        store=STORE,
    log:
        log_file("results", "results"),
    conda:
        ENVIRONMENT
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
            described(str(REPORTS / "figures" / f"{figure}.pdf"), figure, entry),
            str(REPORTS / "figures" / f"{figure}.png"),
            manifest=manifest("figures", figure),
        params:
            store=STORE,
            stage="figures",
        log:
            log_file("figures", figure),
        conda:
            ENVIRONMENT
        script:
            SCRIPT


rule study_report:
    """Bind tables and figures into one HTML file."""
    input:
        rules.results.output,
        [getattr(rules, f"figure_{figure}").output for figure in FIGURES],
        captions=[workflow.source_path(f"{CAPTIONS}/{name}.rst") for name in [*TABLES, *FIGURES]],
    output:
        REPORT,
    params:
        snakefile=workflow.main_snakefile,
        study=str(ARTIFACTS / "study.json"),
    log:
        log_file("report", "report"),
    conda:
        ENVIRONMENT
    shell:
        "snakemake --snakefile {params.snakefile:q} --configfile {params.study:q} --report {output:q} --nolock"
        " > {log:q} 2>&1"
