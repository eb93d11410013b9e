"""Storage in memory that several threads may ask at once, in the place of a server of object storage."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class Atomic(MemoryFileSystem):
    """One request at a time: those who open one file of fsspec's own share its position, and two may create it."""

    protocol = "atomic"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    turn = threading.RLock()

    def put_file(self, *args: Any, **options: Any) -> None:
        with self.turn:
            super().put_file(*args, **options)

    def pipe_file(self, *args: Any, **options: Any) -> None:
        with self.turn:
            super().pipe_file(*args, **options)

    def get_file(self, *args: Any, **options: Any) -> None:
        with self.turn:
            super().get_file(*args, **options)

    def cat_file(self, *args: Any, **options: Any) -> Any:
        with self.turn:
            return super().cat_file(*args, **options)

    def rm_file(self, *args: Any, **options: Any) -> None:
        with self.turn:
            super().rm_file(*args, **options)

    def info(self, *args: Any, **options: Any) -> Any:
        with self.turn:
            return super().info(*args, **options)


class Forgetful(Atomic):
    """Storage that does not understand conditions: the last writer wins."""

    protocol = "forgetful"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    def put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **options: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())


for kind in (Atomic, Forgetful):
    fsspec.register_implementation(kind.protocol, kind, clobber=True)
