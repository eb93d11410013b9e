"""`maxact scales`: scales of a measured checkpoint, to deploy it quantized."""

from __future__ import annotations

import argparse
from pathlib import Path

from maxact.commands.options import Commands, add_checkpoint, add_store, add_study, shared_store


def add(commands: Commands) -> None:
    parser = commands.add_parser("scales", help="export scales of a measured checkpoint, to deploy it quantized")
    add_store(parser)
    add_study(parser)
    add_checkpoint(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder for the three files")
    parser.add_argument("--format", choices=["int8", "fp8_e4m3"], default="int8", help="default: %(default)s")
    parser.add_argument(
        "--policy", default="max", metavar="max|quantile_0.999|mse|entropy", help="of thresholds (default: %(default)s)"
    )
    parser.add_argument("--alpha", type=float, default=0.5, help="of SmoothQuant, 0 to 1 (default: %(default)s)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.deploy import deploy
    from maxact.quantize.export import Choice

    choice = Choice(options.format, options.policy, options.alpha)
    store = shared_store(options.store)
    print(deploy(options.study, options.checkpoint, store, options.out, choice).to_text())
    return 0
