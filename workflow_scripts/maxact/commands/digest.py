"""`maxact digest`: what pins a checkpoint folder, or the code that it brings."""

from __future__ import annotations

import argparse
from pathlib import Path

from maxact.commands.options import Commands


def add(commands: Commands) -> None:
    parser = commands.add_parser("digest", help="print the SHA-256 that pins a checkpoint folder in a study")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--code", action="store_true", help="of its Python files instead, which pins remote_code")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.checkpoints.folder import folder_digest
    from maxact.checkpoints.own_code import code_digest

    print(code_digest(options.folder) if options.code else folder_digest(options.folder))
    return 0
