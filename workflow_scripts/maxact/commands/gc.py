"""`maxact gc`: what no study needs any more."""

from __future__ import annotations

import argparse
from collections import Counter

from maxact.commands.options import Commands, add_store, store_folder
from maxact.errors import UserError


def add(commands: Commands) -> None:
    parser = commands.add_parser("gc", help="show, and with --delete delete, what no study needs any more")
    add_store(parser)
    parser.add_argument("--delete", action="store_true", help="delete what is shown")
    parser.add_argument(
        "--grace-days", type=float, default=14.0, metavar="DAYS", help="keep what is newer (default: 14)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.store.garbage import delete, garbage
    from maxact.store.objects import Store
    from maxact.store.workspace import hold_store

    if not options.grace_days >= 0:
        raise UserError(f"--grace-days {options.grace_days:g}: not a number of days; give 0 or more")
    root = store_folder(options.store)
    hold_store(root)
    store = Store(root)
    found = garbage(store, options.grace_days)
    for item in found:
        print(f"{item.size:>15,}  {item.kind:<12}  {item.path}")
    kinds = Counter(item.kind for item in found)
    told = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in sorted(kinds.items())) or "nothing"
    size = sum(item.size for item in found)
    if options.delete:
        delete(store, found)
        print(f"deleted {told}: {size:,} bytes")
    else:
        print(f"would delete {told}: {size:,} bytes" + ("; say --delete to do it" if found else ""))
    return 0
