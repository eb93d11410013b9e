"""Which figures there are; read when the workflow is, so the standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure by name.

    Attributes:
        title: what the report calls it.
        category: where the report files it.
        module: the module that draws it.
        reads: the objects of the results that it needs; no others decide it.
        needs: as of a table (`results/registry.py`).
    """

    title: str
    category: str
    module: str
    reads: tuple[str, ...]
    needs: str | None = None


FIGURES: dict[str, Figure] = {
    "global_maxima": Figure("Global maxima, drawn", "3 Maxima", "maxact.figures.global_maxima", ("global_maxima.csv",)),
    "component_heatmap": Figure(
        "Largest |x| by component, drawn", "3 Maxima", "maxact.figures.component_heatmap", ("component_maxima.parquet",)
    ),
    "saturation": Figure(
        "How many samples it takes to see M",
        "3 Maxima",
        "maxact.figures.saturation",
        ("saturation.parquet", "how_sure.parquet"),
        "measured",
    ),
    "bootstrap": Figure(
        "M of random subsets of the samples, drawn",
        "3 Maxima",
        "maxact.figures.bootstrap",
        ("subsets.parquet",),
        "published",
    ),
    "domains": Figure(
        "Largest |x| by domain, drawn", "3 Maxima", "maxact.figures.domains", ("domain_maxima.parquet",), "measured"
    ),
    "comparisons": Figure(
        "Comparisons, drawn", "4 Comparisons", "maxact.figures.comparisons", ("comparisons.parquet",)
    ),
    "scaling": Figure(
        "M against the number of parameters", "4 Comparisons", "maxact.figures.scaling", ("comparisons.parquet",)
    ),
    "per_layer_comparison": Figure(
        "Residual streams of each group",
        "4 Comparisons",
        "maxact.figures.per_layer_comparison",
        ("residual_by_depth.parquet",),
    ),
    "per_layer": Figure("Largest |x| per layer", "5 Along the layers", "maxact.figures.per_layer", ("layers.parquet",)),
    "per_layer_inside": Figure(
        "Largest |x| per layer, inside the blocks",
        "5 Along the layers",
        "maxact.figures.per_layer_inside",
        ("layers.parquet",),
        "measured",
    ),
    "emergence": Figure(
        "Where the largest activations come up, drawn",
        "5 Along the layers",
        "maxact.figures.emergence",
        ("emergence.parquet",),
    ),
    "top_and_median": Figure(
        "Top three and median per layer",
        "5 Along the layers",
        "maxact.figures.top_and_median",
        ("top_and_median_by_layer.parquet",),
    ),
    "massive_coverage": Figure(
        "Massive-activation test against M",
        "5 Along the layers",
        "maxact.figures.massive_coverage",
        ("massive_coverage.parquet",),
    ),
    "error_by_site": Figure(
        "SQNR of every format along the layers",
        "7 Number formats",
        "maxact.figures.error_by_site",
        ("error_by_site.parquet",),
        "measured",
    ),
    "clipping_curve": Figure(
        "SQNR against the clipping threshold",
        "7 Number formats",
        "maxact.figures.clipping_curve",
        ("clipping_curves.parquet",),
        "measured",
    ),
    "int8_vs_M": Figure("INT-8 error against M", "6 INT-8", "maxact.figures.int8_vs_m", ("int8_vs_M.parquet",)),
    "error_vs_M": Figure(
        "Error of every format against M", "7 Number formats", "maxact.figures.error_vs_m", ("error_vs_M.parquet",)
    ),
    "perplexity_cost": Figure(
        "Perplexity against error",
        "7 Number formats",
        "maxact.figures.perplexity_cost",
        ("perplexity.parquet",),
        "measured",
    ),
    "granularity_heatmap": Figure(
        "Formats and granularities, drawn",
        "7 Number formats",
        "maxact.figures.granularity_heatmap",
        ("granularities.parquet",),
        "measured",
    ),
}
