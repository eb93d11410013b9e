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
    """

    title: str
    category: str
    module: str
    reads: tuple[str, ...]


FIGURES: dict[str, Figure] = {
    "global_maxima": Figure("Global maxima, drawn", "3 Maxima", "maxact.figures.global_maxima", ("global_maxima.csv",)),
    "per_layer": Figure("Largest |x| per layer", "3 Maxima", "maxact.figures.per_layer", ("layers.parquet",)),
    "int8_error": Figure(
        "INT-8 error by layer and policy", "4 INT-8", "maxact.figures.int8_error", ("errors.parquet",)
    ),
}
