"""`maxact adopt`: measurements of before measuring code was rewritten, where a probe confirms them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from maxact.commands.options import Commands, add_store, add_study, shared_store


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "adopt", help="accept rewritten measuring code for measurements whose probe it gives byte for byte"
    )
    add_store(parser)
    add_study(parser)
    parser.add_argument(
        "--locks", type=Path, default=Path("envs"), help="folder of locked requirements (default: envs)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.adopt import adopt
    from maxact.study import load_study
    from maxact.study.named import warn_of_name

    study = load_study(options.study)
    warn_of_name(study.study, options.study, options.store)
    # Before torch is imported, which reads it then.
    os.environ["OMP_NUM_THREADS"] = str(study.measure.threads)
    for verdict in adopt(study, shared_store(options.store), options.locks):
        print(f"{verdict.checkpoint}: {verdict.verdict}", flush=True)
    return 0
