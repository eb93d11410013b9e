"""`maxact pull`: what manifests here name, from other machines."""

from __future__ import annotations

import argparse

from maxact.commands.options import Commands, add_store, shared_store


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "pull", help="take what manifests here name and the store lacks from MAXACT_REMOTE or MAXACT_MIRROR"
    )
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.store.exchange import pull

    print(pull(shared_store(options.store)))
    return 0
