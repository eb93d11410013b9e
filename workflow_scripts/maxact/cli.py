"""The command `maxact`: everything but running a study, which Snakemake does. `maxact/commands` has what it can do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from maxact import __version__
from maxact.commands import (
    adopt,
    compare,
    digest,
    export,
    fetch,
    gc,
    measure,
    merge,
    pin,
    plan,
    pull,
    push,
    replay,
    scales,
    show,
    unpack,
    verify,
)
from maxact.compiled_cache import give_numba_a_place
from maxact.errors import UserError
from maxact.store.disk import telling

COMMANDS = (
    measure,
    merge,
    pin,
    fetch,
    plan,
    digest,
    verify,
    adopt,
    replay,
    compare,
    scales,
    export,
    unpack,
    gc,
    push,
    pull,
    show,
)
"""In the order in which `maxact --help` lists them."""

MISTAKE = 2
"""Exit code after a user's mistake, which argparse has too."""

INTERRUPTED = 130
"""Exit code after an interrupt from the keyboard, as shells have it."""

CLOSED = 141
"""Exit code where the reader of the output has closed it, as shells have it."""


def entry() -> None:
    """The console script."""
    sys.exit(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, 2 for a user's mistake, others as the commands say)."""
    options = _parser().parse_args(arguments)
    give_numba_a_place()
    try:
        with telling(Path()):
            code: int = options.run(options)
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except BrokenPipeError:  # whoever reads what is printed has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python writes the rest when it ends
        return CLOSED
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maxact", description="How large activations get in open language models.")
    parser.add_argument("--version", action="version", version=f"maxact {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
