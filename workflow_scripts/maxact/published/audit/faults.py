"""What the reader of the files has found wrong with them."""

from __future__ import annotations

from maxact.published.audit.finding import Finding, Severity, all_statistics, table
from maxact.published.names import component_and_layer
from maxact.published.records import Published


def faults_of_files(published: Published) -> Finding | None:
    """Every problem of a file: what was left out, and what was kept and contradicts something."""
    if not published.problems:
        return None
    rows = [
        {"file": one.file, "field": one.field, "what": one.what, "severity": one.severity} for one in published.problems
    ]
    errors = sum(one.severity == "error" for one in published.problems)
    layers = {checkpoint.file: checkpoint.layers for _, checkpoint in all_statistics(published)}
    beyond = sum(
        one.severity != "error" and _layer_of(one.field) >= layers.get(one.file, _layer_of(one.field) + 1)
        for one in published.problems
    )
    further = f"; {beyond} are of layers beyond the decoder, which the tables leave out" if beyond else ""
    return Finding(
        "faults_of_files",
        "Faults of files",
        Severity.NUMBER if errors else Severity.COSMETIC,
        f"{errors} fields or files could not be used and were left out{further}; {len(rows) - errors - beyond} were kept as "
        "written and contradict something.",
        "all files, by their schema and by what follows from the definitions of their fields",
        table(rows),
    )


def _layer_of(field: str) -> int:
    """The layer in the key of a field, which may be that of a whole layer; -1 where it has none."""
    site = field.removeprefix("per_layer_stats.").partition(".")[0]
    _, layer = component_and_layer(site) or component_and_layer(f"{site}_hidden") or ("", None)
    return -1 if layer is None else layer
