"""How long the stage `quantize` takes: every component of a checkpoint of 64 layers, all formats and policies.

    python benchmarks/quantize_histograms.py [--sites N]

Histograms are drawn as in measurement_size.py, nothing is measured; with --sites, of the first N sites, and the time is
given for all as well.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from measurement_size import drawn, sites_of

from maxact.measure.tables import tables
from maxact.quantize.stage import site_errors
from maxact.sites.components import COMPONENTS
from maxact.study import load_study


def main() -> None:
    """Print rows and seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, default=64)
    options = parser.parse_args()
    quantize = load_study(Path(__file__).parents[1] / "studies" / "pocket.yaml").quantize
    rng = np.random.default_rng(0)
    every = [site for site in sites_of(list(COMPONENTS)) if site.place is not None]
    some = every[: options.sites]
    measured = tables(some, {site.number: drawn(rng, site, 384, 4096) for site in some}, {})
    site_errors(measured.sites[:1], measured.histograms, quantize.formats, quantize.policies)  # compiles
    began = time.perf_counter()
    rows = site_errors(measured.sites, measured.histograms, quantize.formats, quantize.policies)
    seconds = time.perf_counter() - began
    codes = len(measured.histograms) / len(some) / 3
    print(f"{len(some)} sites, {codes:,.0f} codes a split, {len(rows)} rows: {seconds:.1f} s")
    print(f"for all {len(every)} sites of 64 layers: {seconds / len(some) * len(every):.0f} s")


if __name__ == "__main__":
    main()
