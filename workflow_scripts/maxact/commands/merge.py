"""`maxact merge`: the shards of one measurement, as one."""

from __future__ import annotations

import argparse
from pathlib import Path

from maxact.commands import told
from maxact.commands.options import Commands


def add(commands: Commands) -> None:
    parser = commands.add_parser("merge", help="join the shards of one measurement")
    told.add_options(parser)
    parser.add_argument("shards", type=Path, nargs="+", metavar="FILE.npz", help="what `maxact measure --shard` saved")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    told.check_options(options)
    from maxact.shards import merge_shards

    return told.tell(*merge_shards(options.shards), options)
