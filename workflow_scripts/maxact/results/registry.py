"""Which tables there are; read when the workflow is, so the standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table by name: what the report calls it, and where it files it."""

    title: str
    category: str


SUFFIXES = ("csv", "md", "tex", "html")
"""Every table is written as each of these; the report shows the last."""

TABLES: dict[str, Table] = {
    "instrument_check": Table("Instrument check: planted against measured", "1 Instrument check"),
    "checkpoints": Table("Checkpoints", "2 Checkpoints"),
    "global_maxima": Table("Global maxima", "3 Maxima"),
    "components": Table("Largest |x| by component", "3 Maxima"),
    "witnesses": Table("What stands where each component is largest", "3 Maxima"),
    "how_sure": Table("How sure M is", "3 Maxima"),
    "without_domain": Table("M without each domain", "3 Maxima"),
    "groups": Table("Largest |x| by domain, script, language, length and class of token", "3 Maxima"),
    "experts": Table("What routed experts have seen", "3 Maxima"),
    "verdicts": Table("Verdicts of the comparisons", "4 Comparisons"),
    "comparisons": Table("Comparisons", "4 Comparisons"),
    "per_layer_comparison": Table("Largest ratios along the layers", "4 Comparisons"),
    "emergence": Table("Where the largest activations come up", "5 Along the layers"),
    "top_and_median": Table("Top three and median of the residual stream", "5 Along the layers"),
    "massive_coverage": Table("Massive-activation test", "5 Along the layers"),
    "int8": Table("INT-8 error", "6 INT-8"),
    "int8_vs_M": Table("INT-8 error beside M", "6 INT-8"),
    "error_link": Table("Does the error follow M?", "6 INT-8"),
    "decisions": Table("Which format and policy win", "7 Number formats"),
    "bits_needed": Table("Bits that integers need", "7 Number formats"),
    "headroom": Table("What formats without a scale can hold", "7 Number formats"),
}
