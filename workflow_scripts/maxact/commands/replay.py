"""`maxact replay`: the sample of a stored maximum, run again."""

from __future__ import annotations

import argparse
import os

from maxact.commands.options import Commands, add_checkpoint, add_store, add_study, shared_store

DIFFERS = 1
"""Exit code when the sample gives other bits than those that are stored."""


def add(commands: Commands) -> None:
    parser = commands.add_parser("replay", help="run the sample of a stored maximum again, alone, and compare the bits")
    add_store(parser)
    add_study(parser)
    add_checkpoint(parser)
    parser.add_argument(
        "--site", metavar="COMPONENT[@LAYER]", help="whose maximum, such as residual@13 (default: the site of M)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.replay import replay
    from maxact.study import load_study
    from maxact.study.named import warn_of_name

    study = load_study(options.study)
    warn_of_name(study.study, options.study, options.store)
    # Before torch is imported, which reads it then.
    os.environ["OMP_NUM_THREADS"] = str(study.measure.threads)
    found = replay(study, options.checkpoint, options.site, shared_store(options.store))
    print(found.to_json() if options.json else found.to_text())
    return 0 if found.same == found.sites else DIFFERS
