"""What an archive is: an uncompressed zip of files of a store, and `archive.json`, which says what they are and who made them.

Paths in it are those below `artifacts/`: objects, action records, the study's key stamps and manifests, and the study file
with its lock as `imported-<name>`. `archive.json` has the digest of each, and of each key stamp by job, so that another
checkout can tell whether it would compute the same.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.store.environment import CHECKOUT
from maxact.store.objects import RESERVED

RECORD = "archive.json"
FORMAT = 1

IMPORTED = "imported.json"
"""In the folder of a study that came out of archives: what they were."""

STUDY_FILE = "imported-"
"""Before the name of the study file, and of its lock, in that folder."""

UNASKED = ("variant", "sensitivity", "audit")
"""Stages from which no table and figure is made; a study need not have run them."""

LOCKS = CHECKOUT / "envs"
"""The folder with the locked requirements, which recipes have the versions of."""

DECIDING = ("Snakefile", "envs", "reports/captions", "rules", "workflow_scripts")
"""What in a checkout decides keys, beside the study file, and what reports look like."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""Of a study, stage, job, figure or table."""

_DIGEST = r"[0-9a-f]{64}"


@dataclass(frozen=True)
class Record:
    """`archive.json`.

    Attributes:
        study: its name.
        study_file: where it was in the checkout, or its name alone if it was elsewhere.
        commit: of the checkout that made the archive, which makes the same keys; None where that is not known.
        clean: whether all that decides keys was as in that commit.
        figures, tables: names of what can be shown from it.
        measurements: whether it has what tables are made from.
        stamps: `stage/name` -> digest of the key stamp.
        files: path -> digest and size.
    """

    study: str
    study_file: str
    commit: str | None
    clean: bool
    version: str
    figures: tuple[str, ...]
    tables: tuple[str, ...]
    measurements: bool
    stamps: Mapping[str, str]
    files: Mapping[str, tuple[str, int]]

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str | bytes, where: str) -> Record:
        """What an archive says of itself. Parts of it are printed within commands, so all that is there is of a known form.

        Raises:
            UserError: it is not such a text, or of a format that this version does not know.
        """
        try:
            told: dict[str, Any] = json.loads(text)
            if told.pop("format") != FORMAT:
                version = told.get("version")
                known = f"maxact {version}" if _is(_VERSION, version) else "another version of maxact"
                raise UserError(f"{where}: made by {known} in another format; use that version")
            fault = next((name for name, holds in _FORMS.items() if not holds(told[name])), None)
            if fault is not None or not (told["figures"] or told["tables"]):
                raise UserError(f"{where}: {fault or 'figures'} in its {RECORD} cannot be; get the archive again")
            told |= {name: tuple(told[name]) for name in ("figures", "tables")}
            told["files"] = {path: (digest, size) for path, (digest, size) in told["files"].items()}
            return Record(**told)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError(f"{where}: its {RECORD} cannot be read; get the archive again") from None

    def told(self) -> str:
        """The commit, as people are told of it."""
        if self.commit is None:
            return f"maxact {self.version}, of no commit that is known"
        return f"commit {self.commit}" + ("" if self.clean else " with changes that are not committed")

    def remedy(self, study_file: Path | None = None, checkout: Path = CHECKOUT) -> str:
        """What to do where a checkout would compute something else.

        Args:
            study_file: that came with the archive; None where no other is read.
            checkout: which would.
        """
        use = f"--configfile {study_file}" if study_file else ""
        together = f", with {use}" if use else ""
        if self.commit is None:
            return f"use the code that made it, maxact {self.version}{together}"
        here, clean = commit_here(checkout)
        if not self.clean:
            to_it = "this is that commit" if here == self.commit else f"git checkout {self.commit} may not do"
            return f"{to_it}, but the archive was made with changes that are in no commit: ask for one made without any"
        if here != self.commit:
            return f"use that commit: git checkout {self.commit}{together}"
        if not clean:
            return f"this is that commit with changes, which `git status` names: put them away (git stash -u){together}"
        if not use:
            return "this is that commit, so the archive is not what was made: get it again"
        return f"this is that commit, so the study file or what it reads is another: use {use}"


def _is(pattern: str, value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_file(value: object) -> bool:
    """Whether a path is below the folder that it is relative to."""
    parts = value.split("/") if isinstance(value, str) and value.isprintable() else [""]
    return not {"", ".", ".."} & set(parts) and parts[-1].endswith((".yaml", ".yml"))


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(_is(NAME, name) for name in value)


def _are_stamps(value: object) -> bool:
    pairs = value.items() if isinstance(value, dict) else [("", "")]
    return all(_is(f"{NAME}/{NAME}", name) and _is(_DIGEST, digest) for name, digest in pairs)


def _are_measured(value: object) -> bool:
    items = value.values() if isinstance(value, dict) else [None]
    return all(
        isinstance(item, list) and len(item) == 2 and _is(_DIGEST, item[0]) and type(item[1]) is int for item in items
    )


_VERSION = r"[0-9A-Za-z][0-9A-Za-z.+-]*"
_FORMS: Mapping[str, Callable[[object], bool]] = {
    "study": lambda value: _is(NAME, value) and value not in RESERVED,
    "study_file": _is_file,
    "commit": lambda value: value is None or _is(r"[0-9a-f]{40}", value),
    "clean": lambda value: isinstance(value, bool),
    "version": lambda value: _is(_VERSION, value),
    "figures": _are_names,
    "tables": _are_names,
    "measurements": lambda value: isinstance(value, bool),
    "stamps": _are_stamps,
    "files": _are_measured,
}
"""What each part of `archive.json` must be."""


def is_allowed(path: str, study: str) -> bool:
    """Whether a file of an archive may have that path: nothing outside the store and its study has such a one."""
    patterns = (
        r"objects/([0-9a-f]{2})/\1[0-9a-f]{62}(\.[A-Za-z0-9]+)?",
        r"actions/[0-9a-f]{64}\.json",
        rf"{re.escape(study)}/keys/{NAME}/{NAME}\.json",
        rf"{re.escape(study)}/(?!keys/){NAME}/{NAME}\.json",
        rf"{re.escape(study)}/{STUDY_FILE}{NAME}\.(yaml|yml|lock\.json)",
    )
    return any(re.fullmatch(pattern, path) for pattern in patterns)


def commit_here(checkout: Path = CHECKOUT) -> tuple[str | None, bool]:
    """The commit of a checkout, and whether what decides keys is as in it; None where it is none of Git's."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != checkout.resolve():
        return None, False
    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", *DECIDING)
    return commit, commit is not None and changes == ""
