"""The largest finite value of the number formats that activations are stored or multiplied in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A floating-point format.

    Attributes:
        name: the key used in tables.
        label: what tables and figures print.
        limit: largest finite value; what is larger overflows.
    """

    name: str
    label: str
    limit: float


FORMATS: dict[str, Format] = {
    # IEEE 754-2019, binary16
    "float16": Format("float16", "float16", 65504.0),
    # OCP 8-bit Floating Point Specification (OFP8) 1.0, table 1: E4M3 has no infinities, E5M2 has
    "e5m2": Format("e5m2", "FP8 E5M2", 57344.0),
    "e4m3": Format("e4m3", "FP8 E4M3", 448.0),
}
"""From the widest to the narrowest range."""
