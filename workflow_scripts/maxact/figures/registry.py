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
        rows: column and value: of what it reads, the figure shows the rows that have it; None where it shows all.
    """

    title: str
    category: str
    module: str
    reads: tuple[str, ...]
    needs: str | None = None
    rows: tuple[str, str] | None = None


_QUESTIONS = {
    "scaling_by_layer": ("scaling", "Scaling, layer by layer"),
    "matched_sizes": ("matched_sizes", "Matched sizes"),
    "moe_vs_dense": ("moe_vs_dense", "MoE against dense"),
    "base_vs_instruct": ("base_vs_instruct", "Base against instruct"),
    "vision_vs_text": ("vision_vs_text", "Vision-language against text"),
    "training_stages": ("training_stages", "Stages of training"),
    "generations": ("generations", "Generations"),
}
"""Question and title of each figure of one question."""

_TENSORS = {"linear_inputs": "inputs of linear layers", "kv_cache": "KV cache", "residual": "residual stream"}
"""Kinds of tensors (`quantize/tensors.py`) by what ends the name of a figure of one."""


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
    "scaling": Figure(
        "M against the number of parameters",
        "4 Comparisons",
        "maxact.figures.scaling",
        ("comparisons.parquet",),
        "scaling",
    ),
    **{
        name: Figure(
            f"{title}, drawn",
            "4 Comparisons",
            "maxact.figures.groups",
            ("comparisons.parquet", "residual_by_depth.parquet"),
            question,
            ("question", question),
        )
        for name, (question, title) in _QUESTIONS.items()
    },
    "moe_router_gate": Figure(
        "Router and gate of mixtures of experts",
        "4 Comparisons",
        "maxact.figures.moe_router_gate",
        ("routers_and_gates.parquet",),
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
    **{
        f"error_by_site_{name}": Figure(
            f"SQNR of every format along the layers, {kind}",
            "7 Number formats",
            "maxact.figures.error_by_site",
            ("error_by_site.parquet",),
            "measured",
            ("tensors", kind),
        )
        for name, kind in _TENSORS.items()
    },
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
    **{
        f"granularity_heatmap_{name}": Figure(
            f"Formats and granularities, {kind}",
            "7 Number formats",
            "maxact.figures.granularity_heatmap",
            ("granularities.parquet",),
            "measured",
            ("tensors", kind),
        )
        for name, kind in _TENSORS.items()
    },
}
