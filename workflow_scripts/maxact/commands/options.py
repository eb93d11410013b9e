"""Arguments that several commands take, and the store that `--store` names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from maxact.errors import UserError

if TYPE_CHECKING:
    from maxact.store.objects import Store

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` gives: argparse has no public name for it."""


def add_study(parser: argparse.ArgumentParser) -> None:
    """The file of a study, in the place that it has in every command."""
    parser.add_argument("study", type=Path, metavar="STUDY.yaml")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """The name of a checkpoint, after the study."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="its name in the study")


def add_store(parser: argparse.ArgumentParser, told: str = "folder of artifacts") -> None:
    """The folder of the store; `told` says in the help what it is for."""
    parser.add_argument("--store", type=Path, default=Path("artifacts"), help=f"{told} (default: %(default)s)")


def store_folder(root: Path) -> Path:
    """The folder, which must hold a store.

    Raises:
        UserError: it holds none.
    """
    if not (root / "objects").is_dir():
        raise UserError(f"{root}: holds no store; say --store with the folder of artifacts")
    return root


def shared_store(root: Path) -> Store:
    """The store in that folder, with the places where other machines keep theirs."""
    from maxact.store.objects import Store
    from maxact.store.sharing import Shared

    return Store(store_folder(root), Shared.of_environment())
