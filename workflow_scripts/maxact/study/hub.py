"""The sections about what comes from a hub: repositories, and what pins them.

A study names a repository and a revision. What the revision is today is resolved once, by `maxact pin`, and kept in a lock
file beside the study; nothing is downloaded that is not pinned there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from maxact.study.sections import NotNegative, Section
from maxact.study.shape import Shape

Repository = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", max_length=200)]
Revision = Annotated[str, Field(pattern=r"^[\w][\w./-]*$", max_length=200)]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
FileDigest = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|git:[0-9a-f]{40})$")]
"""`sha256:` of the bytes, or `git:`, the SHA-1 that git gives to a file of that content; the hub knows one or the other."""

FILE_NAME = r"^\w[\w.-]*$"
"""No folder, and nothing that leads out of one."""


class FilePin(Section):
    """One file of a repository: its size in bytes and its digest."""

    size: NotNegative
    digest: FileDigest


class Pin(Section):
    """What a revision of a checkpoint's repository was when it was pinned."""

    commit: Commit
    licence: str
    files: dict[Annotated[str, Field(pattern=FILE_NAME)], FilePin]
    """The files that count: configuration, weights, their index, tokenizer, and code that it brings."""
    shape: Shape | None = None
    """For `maxact plan` alone; None for a tokenizer, and where configuration or headers do not tell."""


class DatasetPin(Section):
    """What a revision of a data set's repository was when it was pinned; the commit decides every file of it."""

    commit: Commit
    licence: str


class Hub(Section):
    """A checkpoint on the hub, as config.json and safetensors."""

    kind: Literal["hub"]
    repository: Repository
    revision: Revision = "main"
    pin: Pin | None = None
    """Read from the lock file; not written by hand."""


class HubFiles(Section):
    """A data set on the hub, read as a stream."""

    kind: Literal["hub"]
    repository: Repository
    revision: Revision = "main"
    configuration: str | None = None
    split: str = "train"
    pin: DatasetPin | None = None
    """Read from the lock file; not written by hand."""


class HubTokenizer(Section):
    """A tokenizer on the hub, for counting lengths."""

    kind: Literal["hub"]
    repository: Repository
    revision: Revision = "main"
    pin: Pin | None = None
    """Read from the lock file; not written by hand."""
