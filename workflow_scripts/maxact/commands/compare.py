"""`maxact compare`: two measurements, site by site."""

from __future__ import annotations

import argparse

from maxact.commands.options import Commands, add_store

DIFFERS = 1
"""Exit code when two measurements differ beyond a tolerance."""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "compare",
        help="two measurements site by site; exit code 1 where they differ beyond a tolerance",
        description="Exit codes: 0 within the tolerances, 1 beyond one, 2 a mistake in the input.",
    )
    add_store(parser)
    for side in ("A", "B"):
        parser.add_argument(
            side.lower(),
            metavar=side,
            help="STUDY.yaml:CHECKPOINT, a manifest, or a folder of `maxact measure --tables`",
        )
    parser.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="[STATISTIC=]NUMBER",
        help="how far apart may be: peak, rms, mean, quantiles, massive (each relative, 0.05, and a number alone is for all "
        "five); distribution (0.02, Kolmogorov-Smirnov); nonfinite (0, relative)",
    )
    parser.add_argument(
        "--all-sites",
        action="store_true",
        help="for gates: a site or a statistic that one side has and the other has not is a difference",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object with every site")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.compare.report import compare, to_json, to_text
    from maxact.compare.sites import parse_tolerances

    tolerances = parse_tolerances(options.tolerance)
    found = compare(options.a, options.b, options.store, tolerances, options.all_sites)
    print(to_json(found) if options.json else to_text(found))
    return DIFFERS if found.differs else 0
