"""What the reader of the files has found wrong with them."""

from __future__ import annotations

from collections.abc import Mapping

from maxact.published.audit.finding import Finding, Severity, all_statistics, layer_of, table
from maxact.published.records import Problem, Published


def faults_of_files(published: Published) -> Finding | None:
    """Every problem of a file: what was left out, and what was kept and contradicts something."""
    if not published.problems:
        return None
    rows = [
        {"file": one.file, "field": one.field, "what": one.what, "severity": one.severity} for one in published.problems
    ]
    errors = sum(one.severity == "error" for one in published.problems)
    layers = {checkpoint.file: checkpoint.layers for _, checkpoint in all_statistics(published)}
    beyond = sum(one.severity != "error" and _is_beyond(one, layers) for one in published.problems)
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


def _is_beyond(problem: Problem, layers: Mapping[str, int]) -> bool:
    """Whether its field is, or is in, a layer that the decoder has not. Args: layers: of the decoder, by file of statistics."""
    site = problem.field.removeprefix("per_layer_stats.").partition(".")[0]
    layer = layer_of(site)
    layer = layer_of(f"{site}_hidden") if layer is None else layer
    return layer is not None and layer >= layers.get(problem.file, layer + 1)
