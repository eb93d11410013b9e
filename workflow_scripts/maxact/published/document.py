"""One JSON file, read so that each fault becomes a `Problem` and the rest is still read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maxact.published.listing import refused
from maxact.published.records import Problem, Severity

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

MOST = 2**31 - 1
"""No size of a model, of a set of samples or of their tokens at a time is larger."""

ELEMENTS = 2**53
"""No number of elements is larger, and none up to it is rounded where it is kept as a float."""

LIST = 10_000
"""Largest values of a site are fewer: ranks have 16 bits."""


class Document:
    """A JSON file with the problems that are found in it.

    Attributes:
        file: its path relative to the folder, as problems name it.
        content: what it holds; None where it cannot be read.
    """

    def __init__(self, folder: Path, path: Path, problems: list[Problem]) -> None:
        self.file = path.relative_to(folder).as_posix()
        self._problems = problems
        self.content: Any = self._read(path)

    def problem(self, field: str, what: str, severity: Severity = "error") -> None:
        """Note a fault of a field; what of its name is no text that can be written is escaped."""
        field, what = (text.encode(errors="backslashreplace").decode() for text in (field, what))
        self._problems.append(Problem(self.file, field, what, severity))

    def mapping(self, value: Any, field: str) -> Mapping[str, Any]:
        """`value` if it is an object of JSON, else an empty one and a problem."""
        if isinstance(value, dict):
            return value
        self.problem(field, f"not an object but {_kind(value)}")
        return {}

    def list(self, value: Any, field: str) -> Sequence[Any]:
        """`value` if it is a list, else an empty one and a problem."""
        if isinstance(value, list):
            return value
        self.problem(field, f"not a list but {_kind(value)}")
        return []

    def text(self, key: str, needed: bool = True) -> str | None:
        """A text at the top of the file; None and a problem where there is none."""
        value = self.content.get(key)
        if is_text(value) and (value or not needed):
            return str(value)
        self.problem(key, "missing" if value is None else f"not a text but {_kind(value)}")
        return None

    def name(self, key: str) -> str | None:
        """The name of a model at the top of the file, which may be part of a file's name; None and a problem else."""
        value = self.text(key)
        if value is not None and not _NAME.fullmatch(value):
            self.problem(key, f"{value[:40]!r} is no name of a model")
            return None
        return value

    def count(self, key: str, least: int = 1, most: int = MOST) -> int | None:
        """A whole number at the top of the file; None and a problem where there is none."""
        return self.whole(self.content, key, key, least, most)

    def whole(self, of: Mapping[str, Any], key: str, field: str, least: int = 0, most: int = ELEMENTS) -> int | None:
        """A whole number under `key`; None and a problem (which names `field`) where there is none."""
        value = self.number(of, key, field)
        if value is None:
            return None
        if value != int(value) or not least <= int(value) <= most:
            self.problem(field, f"not a whole number from {least} to {most:,} but {value!r}")
            return None
        return int(value)

    def number(self, of: Mapping[str, Any], key: str, field: str) -> float | None:
        """A finite number under `key`; None and a problem (which names `field`) where there is none."""
        if key not in of:
            self.problem(field, "missing")
            return None
        value = of[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.problem(field, f"not a number but {_kind(value)}")
            return None
        if (finite := _finite(value)) is None:
            self.problem(field, f"not finite ({value})" if isinstance(value, float) else "a number beyond 64 bits")
        return finite

    def numbers(self, of: Mapping[str, Any], key: str, field: str) -> tuple[float, ...] | None:
        """A list of finite numbers under `key`; None and a problem where there is none, or where one of them is not."""
        if key not in of:
            self.problem(field, "missing")
            return None
        values = self.list(of[key], field)
        if len(values) > LIST:
            self.problem(field, f"has {len(values):,} numbers, more than {LIST:,}")
            return None
        found = []
        for at, value in enumerate(values):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or (finite := _finite(value)) is None:
                self.problem(f"{field}[{at}]", f"not a finite number but {_shown(value)}")
                return None
            found.append(finite)
        return tuple(found) if isinstance(of[key], list) else None

    def only(self, of: Mapping[str, Any], known: Sequence[str] | set[str] | Mapping[str, Any], field: str = "") -> None:
        """Note keys that are none of `known`."""
        for key in of:
            if key not in known:
                self.problem(f"{field}.{key}" if field else key, "unknown key", "warning")

    def _read(self, path: Path) -> Any:
        twice: list[str] = []

        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            found = dict(pairs)
            if len(found) < len(pairs):
                keys = [key for key, _ in pairs]
                twice.extend(sorted({key for key in keys if keys.count(key) > 1}))
            return found

        try:
            content = json.loads(path.read_bytes(), object_pairs_hook=unique)
        except OSError as error:
            self.problem("", refused(error))
        except (ValueError, RecursionError) as error:
            self.problem("", f"not valid JSON ({' '.join(str(error).split())}); fetch the file again")
        else:
            for key in twice:
                self.problem(key, "stands twice in one object; the last one is read", "warning")
            if content is not None and content != {}:
                return content
            self.problem("", "holds nothing; fetch the file again")
        return None


def is_text(value: Any) -> bool:
    """Whether a value is a text that can be written: half of a pair of surrogates cannot."""
    return isinstance(value, str) and value == value.encode(errors="ignore").decode()


def _finite(value: float) -> float | None:
    """The number as a float; None where it is not finite, or a whole number that no float is near."""
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else _kind(value)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
