"""Which files of a folder are results, and which of them cannot be read.

Nothing is read that could block, or that is larger than any such file can be. What cannot be read has a place in the
digests all the same: the digest of the words that stand for it, so that a recipe changes when it can be.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from maxact.errors import UserError
from maxact.store.objects import digest_file, digest_text

STATISTICS, TOP, QUANT, SUMMARY = (
    *("_activation_stats.json", "_top5_stats.json"),
    *("_quant_sanity.json", "quant_sanity_summary.json"),
)
APART = ("quant", "bootstrap", "supplementary", "supplementary_experiments")
"""Folders that are no series. The last two hold what `quant` and `bootstrap` have, once more."""

LARGEST = 64 * 2**20
"""Bytes. The largest of the authors' files have less than a hundredth of it."""

_OF_SERIES = re.compile(rf"json/[^/]+({re.escape(STATISTICS)}|{re.escape(TOP)})")
_FLAT = re.compile(rf"(?P<name>.+)_s(?P<size>[0-9]{{1,9}})_r(?P<repetition>[0-9]{{1,9}}){re.escape(STATISTICS)}")
_NESTED = re.compile(
    rf"(?P<size>[0-9]{{1,9}})/r(?P<repetition>[0-9]{{1,9}})/[^/]+/json/(?P<name>.+){re.escape(STATISTICS)}"
)
_ENTERED = re.compile(r"[^/]+(/json)?|bootstrap/[0-9]{1,9}(/r[0-9]{1,9}(/[^/]+(/json)?)?)?")
"""Folders that results can be in. They may be links; all else below `bootstrap` is looked into where it is none."""


def is_result_path(path: str) -> bool:
    """Whether a file at that path below the folder is a result."""
    head, _, below = path.partition("/")
    if head == "bootstrap":
        return subset_of(path) is not None
    if head == "quant":
        return "/" not in below and (below == SUMMARY or below.endswith(QUANT))
    return head not in APART and bool(_OF_SERIES.fullmatch(below))


def subset_of(path: str) -> re.Match[str] | None:
    """Name, size and repetition of the subset that a file below `bootstrap` is of; None where its path does not say."""
    head, _, below = path.partition("/")
    return (_FLAT.fullmatch(below) or _NESTED.fullmatch(below)) if head == "bootstrap" else None


def model_of(path: str) -> str | None:
    """The model that a file is named after; None where its name has none."""
    _, _, name = path.rpartition("/")
    if found := subset_of(path):
        return found["name"]
    return next((name.removesuffix(suffix) for suffix in (STATISTICS, TOP, QUANT) if name.endswith(suffix)), None)


def listed(folder: Path) -> dict[str, str | None]:
    """Each result by its path below the folder, sorted; None, or why it cannot be read.

    A folder that cannot be looked into is listed too, and so is a file below `bootstrap` that is of no known subset. A name
    that cannot be printed is escaped.

    Raises:
        UserError: no folder, none that can be read, or no result in it that can be.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of the authors' result files")
    found: dict[str, str | None] = {}
    for path, why in sorted(_below(str(folder), "")):
        if path.isprintable():
            found[path] = why
        else:
            found[ascii(path)[1:-1]] = "a name that cannot be printed; rename the file"
    if None not in found.values():
        first = "".join(f" that can be read ({path}: {why})" for path, why in list(found.items())[:1])
        raise UserError(
            f"{folder}: no <series>/json/*{STATISTICS} in it{first}; give the folder of the authors' result files"
        )
    return found


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each result by its path below the folder; of one that cannot be read, that of the words that say why.

    Raises:
        UserError: see `listed`.
    """
    return {path: _digest(folder / path) if why is None else digest_text(why) for path, why in listed(folder).items()}


def _digest(path: Path) -> str:
    try:
        return digest_file(path)
    except OSError as error:
        return digest_text(refused(error))


def refused(error: OSError) -> str:
    """Why a file or folder cannot be read, as it is told."""
    return f"cannot be read ({error.strerror}); mend it"


def _below(root: str, below: str) -> Iterator[tuple[str, str | None]]:
    """Of one folder, and of those in it that results can be in."""
    try:
        with os.scandir(os.path.join(root, below)) as entries:
            names = sorted((entry.name, entry.is_symlink()) for entry in entries)
    except OSError as error:
        if not below:
            raise UserError(f"{root}: {refused(error)}") from None
        yield below, refused(error)
        return
    for name, link in names:
        path = f"{below}/{name}" if below else name
        if is_result_path(path):
            yield path, _unreadable(os.path.join(root, path))
        elif path.startswith("bootstrap/") and name.endswith(STATISTICS):
            yield path, "size and repetition of the subset, of at most 9 digits, are not in its path; left out"
        elif (_ENTERED.fullmatch(path) or (path.startswith("bootstrap/") and not link)) and os.path.isdir(
            os.path.join(root, path)
        ):
            yield from _below(root, path)


def _unreadable(path: str) -> str | None:
    """Why a result is not to be opened."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return "a link to nothing; mend it"
    except OSError as error:
        return refused(error)
    if stat.S_ISDIR(found.st_mode):
        return "a folder, and named like a result; rename it"
    if not stat.S_ISREG(found.st_mode):
        return "no regular file (a pipe, socket or device); replace it"
    if found.st_size > LARGEST:
        return f"{found.st_size:,} bytes, where a result has {LARGEST:,} at most; fetch the file again"
    return None
