"""`maxact show`: where a file comes from."""

from __future__ import annotations

import argparse
from pathlib import Path

from maxact.commands.options import Commands, add_store, store_folder


def add(commands: Commands) -> None:
    parser = commands.add_parser("show", help="what made a file, from what, and is it current")
    add_store(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="a manifest, an object, or a file of a report")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.store.show import show

    print(show(options.file, store_folder(options.store)))
    return 0
