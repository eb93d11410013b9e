"""How long the stage `quantize` takes: every component of a checkpoint of 64 layers, as the pocket study asks.

    python benchmarks/quantize_histograms.py [--sites N]

Histograms are drawn as in measurement_size.py, nothing is measured; with --sites, of the first N sites, and the time is
given for all as well.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
from measurement_size import drawn, sites_of

from maxact.measure.tables import tables
from maxact.quantize.stage import site_bits, site_curves, site_errors, sixteen_bits, splits_of
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
    sites, split = sixteen_bits(measured.sites), splits_of(measured.histograms)
    site_errors(sites[:1], split, quantize.formats, quantize.policies)  # compiles
    times = [time.perf_counter()]
    errors = site_errors(sites, split, quantize.formats, quantize.policies)
    times.append(time.perf_counter())
    site_bits(sites, split, quantize.sqnr_targets)
    times.append(time.perf_counter())
    site_curves(sites, split, errors, quantize.formats)
    times.append(time.perf_counter())
    of_errors, of_bits, of_curves = (later - earlier for earlier, later in itertools.pairwise(times))
    codes = len(measured.histograms) / len(some) / 3
    print(
        f"{len(some)} sites, {codes:,.0f} codes a split: errors {of_errors:.1f} s, bits {of_bits:.1f} s, curves {of_curves:.1f} s"
    )
    seconds = (of_errors + of_bits) / len(some) * len(every) + of_curves
    print(f"for all {len(every)} sites of 64 layers: {seconds:.0f} s")


if __name__ == "__main__":
    main()
