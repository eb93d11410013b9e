"""`maxact plan`: what the jobs of a study need of a machine."""

from __future__ import annotations

import argparse

from maxact.commands.options import Commands, add_store, add_study


def add(commands: Commands) -> None:
    parser = commands.add_parser("plan", help="what the jobs of a study need: GPUs, memory, minutes, disk, and totals")
    add_study(parser)
    add_store(parser, "folder of artifacts, if there is one")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.needs.plan import plan
    from maxact.study import load_study
    from maxact.study.named import warn_of_name

    study = load_study(options.study)
    found = plan(study, options.store)
    warn_of_name(study.study, options.study, options.store)
    print(found.to_json() if options.json else found.to_text())
    return 0
