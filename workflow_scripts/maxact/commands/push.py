"""`maxact push`: what was made here, for other machines."""

from __future__ import annotations

import argparse

from maxact.commands.options import Commands, add_store, shared_store


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "push", help="give what was made here to MAXACT_REMOTE, where it lacks it; weights excepted"
    )
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.store.exchange import push

    print(push(shared_store(options.store)))
    return 0
