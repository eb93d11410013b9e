"""`maxact verify`: are stored objects what their names say?"""

from __future__ import annotations

import argparse

from maxact.commands.options import Commands, add_store, store_folder

FAULTS = 1
"""Exit code when an object is missing or damaged."""


def add(commands: Commands) -> None:
    parser = commands.add_parser("verify", help="read every stored object and compare it with its digest")
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from maxact.store.objects import Store
    from maxact.store.verify import faults

    root = store_folder(options.store)
    count = 0
    for fault in faults(Store(root)):
        count += 1
        made = f" ({'; '.join(fault.makers)})" if fault.makers else " (no manifest names it)"
        print(f"{fault.what}: {fault.path}{made}")
    objects = sum(1 for _ in root.glob("objects/*/*"))
    print(f"{objects} objects read, {count} at fault" + ("; a run that needs one makes it again" if count else ""))
    return FAULTS if count else 0
