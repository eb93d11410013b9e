"""`maxact pin`: what a study takes from the hub, as commits and digests."""

from __future__ import annotations

import argparse

from maxact.commands.options import Commands, add_study
from maxact.errors import UserError


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "pin", help="resolve what a study takes from the hub to commits and digests, in a lock file"
    )
    add_study(parser)
    parser.add_argument("--again", action="store_true", help="resolve anew what is pinned already")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.hub.pin import pin_published, pin_study
    from maxact.study import PublishedStudy, load_any_study
    from maxact.study.pins import lock_file

    study = load_any_study(options.study)
    try:
        if isinstance(study, PublishedStudy):
            print(f"{pin_published(study, options.study, options.again)}: 1 source pinned")
            return 0
        file = pin_study(study, options.study, options.again)
    except KeyboardInterrupt:
        raise UserError(f"{lock_file(options.study)}: interrupted; it is as it was before") from None
    print(f"{file}: {len(list(study.from_hub()))} sources pinned")
    return 0
