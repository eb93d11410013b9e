"""Which tables there are; read when the workflow is, so the standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar


@dataclass(frozen=True)
class Table:
    """A table by name.

    Attributes:
        title: what the report calls it.
        category: where the report files it.
        needs: the kind of study that it can be made of, `measured` or `published`, or the question of the comparisons that
            must have a group; None where any study will do. Published results have sites, their largest values and some
            errors, and lack samples, classes, experts and text.
    """

    title: str
    category: str
    needs: str | None = None


class _Needing(Protocol):
    @property
    def needs(self) -> str | None: ...


_Entry = TypeVar("_Entry", bound=_Needing)


def made_of(entries: Mapping[str, _Entry], provides: frozenset[str]) -> dict[str, _Entry]:
    """Those tables or figures that can be made of what a study provides."""
    return {name: entry for name, entry in entries.items() if entry.needs is None or entry.needs in provides}


MEASURED, PUBLISHED = frozenset({"measured"}), frozenset({"published"})
"""What a study of one's own measurements provides, and one of published results, beside the questions that it asks."""

SUFFIXES = ("csv", "md", "tex", "html")
"""Every table is written as each of these; the report shows the last."""

TABLES: dict[str, Table] = {
    "instrument_check": Table("Instrument check: planted against measured", "1 Instrument check", "measured"),
    "checkpoints": Table("Checkpoints", "2 Checkpoints"),
    "published_problems": Table("Faults of the published files", "2 Checkpoints", "published"),
    "global_maxima": Table("Global maxima", "3 Maxima"),
    "components": Table("Largest |x| by component", "3 Maxima"),
    "witnesses": Table("What stands where each component is largest", "3 Maxima", "measured"),
    "how_sure": Table("How sure M is", "3 Maxima", "measured"),
    "bootstrap": Table("M of random subsets of the samples", "3 Maxima", "published"),
    "without_domain": Table("M without each domain", "3 Maxima", "measured"),
    "groups": Table("Largest |x| by domain, script, language, length and class of token", "3 Maxima", "measured"),
    "experts": Table("What routed experts have seen", "3 Maxima", "measured"),
    "verdicts": Table("Verdicts of the comparisons", "4 Comparisons"),
    "comparisons": Table("Comparisons", "4 Comparisons"),
    "per_layer_comparison": Table("Largest ratios along the layers", "4 Comparisons"),
    "emergence": Table("Where the largest activations come up", "5 Along the layers"),
    "top_and_median": Table("Top three and median of the residual stream", "5 Along the layers"),
    "massive_coverage": Table("Massive-activation test", "5 Along the layers"),
    "int8": Table("INT-8 error", "6 INT-8"),
    "int8_vs_M": Table("INT-8 error beside M", "6 INT-8"),
    "paper_check": Table("The paper's INT-8 check, repeated and corrected", "6 INT-8", "measured"),
    "paper_check_sites": Table("The paper's INT-8 check, corrected, at every site", "6 INT-8", "measured"),
    "error_link": Table("Does the error follow M?", "6 INT-8"),
    "decisions": Table("Which format and policy win", "7 Number formats", "measured"),
    "site_winners": Table("Which win at each site", "7 Number formats", "measured"),
    "perplexity": Table("Perplexity with quantized activations", "7 Number formats", "measured"),
    "granularities": Table("What sharing a scale among fewer elements buys", "7 Number formats", "measured"),
    "protection": Table(
        "What protecting the first token or the largest channels would change", "7 Number formats", "measured"
    ),
    "smoothing": Table("What SmoothQuant reaches", "7 Number formats", "measured"),
    "bits_needed": Table("Bits that integers need", "7 Number formats", "measured"),
    "headroom": Table("What formats without a scale can hold", "7 Number formats"),
}

CLAIMS, AUDIT = "claims", "audit"
"""Pages by their names."""

PAGES: dict[str, Table] = {
    CLAIMS: Table("Claims of the paper", "8 Claims"),
    AUDIT: Table("Audit of the published results", "9 Audit", "published"),
}
"""What is no single table: `claims` is made by the results, `audit` by a stage of its own."""

PAGE_SUFFIXES = ("md", "json", "html")
"""For people, for programs, and for the report."""
