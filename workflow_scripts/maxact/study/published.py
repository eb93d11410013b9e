"""A study of published results: which checkpoints of a tree of result files, and what is set beside what."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from maxact.results.registry import PUBLISHED
from maxact.study.comparisons import Comparisons
from maxact.study.consistency import check_comparisons, check_names
from maxact.study.hub import Commit, FilePin, Repository
from maxact.study.measuring import Figures
from maxact.study.mistakes import meant
from maxact.study.pins import pin_name
from maxact.study.sections import Name, Section, Sha256

PATH = r"^\w[\w.-]*(/\w[\w.-]*)*$"
"""Nothing that leads out of a folder."""


class PublishedPin(Section):
    """The result files of the commit: size and SHA-256 of each, by its path below `directory`."""

    files: dict[Annotated[str, Field(pattern=PATH)], FilePin]


class GivenPin(Section):
    """The result files of a folder that was given where an archive was made (`archive/export.py`): SHA-256 of each, by path."""

    given: dict[str, Sha256]
    """They are not opened, so that their names may be any."""


class PublishedSource(Section):
    """Where the files come from if no folder is given: a public repository on GitHub."""

    repository: Repository
    commit: Commit
    directory: Annotated[str, Field(pattern=PATH)]
    """Of the repository, with a folder for each series in it."""
    pin: PublishedPin | GivenPin | None = None
    """Read from the lock file; not written by hand."""

    def digests(self) -> dict[str, str]:
        """SHA-256 of each pinned file, by its path; none where there is no pin."""
        if isinstance(self.pin, GivenPin):
            return dict(self.pin.given)
        files = self.pin.files if self.pin else {}
        return {path: pin.digest.removeprefix("sha256:") for path, pin in files.items()}


class PublishedFamily(Section):
    """An architecture line."""

    model_type: str
    """What the files of its checkpoints must say."""


class PublishedCheckpoint(Section):
    """A checkpoint of the result files, under a name of the study."""

    name: Name
    family: Name
    role: Literal["main", "instruct", "stage"] = "main"
    published_name: Name | None = None
    """Its `model_name` in the files, where it has another name in this study."""
    billions: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Parameters as its name has them: the files do not count them."""

    @property
    def found_as(self) -> str:
        """Its name in the files."""
        return self.published_name or self.name


class PublishedStudy(Section):
    """What a user writes about a study of published results, told apart from others by the section `published`."""

    study: Name
    published: PublishedSource
    published_results: str | None = Field(default_factory=lambda: os.environ.get("MAXACT_PUBLISHED"))
    """A folder of result files, given on the command line: `--config published_results=FOLDER`; else in MAXACT_PUBLISHED."""
    families: dict[Name, PublishedFamily]
    checkpoints: Annotated[list[PublishedCheckpoint], Field(min_length=1)]
    comparisons: Comparisons = Comparisons()
    figures: Figures

    @property
    def provides(self) -> frozenset[str]:
        """What tables and figures can be made of, beside what all studies have (`results/registry.py`)."""
        return PUBLISHED | self.comparisons.asked()

    @property
    def results_folder(self) -> str | None:
        """The folder of the result files, where one is given; None where they come from the repository."""
        return self.published_results or None

    def without_folder(self, pin: GivenPin | None = None) -> PublishedStudy:
        """The study as its file and lock file have it, wherever files were given; with another pin, if one is given."""
        pinned = {"published": self.published.model_copy(update={"pin": pin})} if pin else {}
        return self.model_copy(update={"published_results": None, **pinned})

    def unpinned(self) -> Iterator[tuple[str, str]]:
        """The repository, if its files are needed and nothing pins them: its key, and its name in the lock file."""
        if self.results_folder is None and self.published.pin is None:
            yield "published", pin_name(self.published.repository, self.published.commit)

    def members(self) -> list[dict[str, Any]]:
        """The checkpoints as the recipe of the results has them."""
        return [
            {"name": one.name, "family": one.family, "role": one.role, "found_as": one.found_as}
            | {"model_type": self.families[one.family].model_type, "billions": one.billions}
            for one in self.checkpoints
        ]

    @model_validator(mode="after")
    def consistent(self) -> PublishedStudy:
        check_names(self.study, [checkpoint.name for checkpoint in self.checkpoints])
        for index, checkpoint in enumerate(self.checkpoints):
            if checkpoint.family not in self.families:
                raise ValueError(
                    f"checkpoints[{index}] ({checkpoint.name}).family: {checkpoint.family!r} is not under families"
                    f"{meant(checkpoint.family, self.families)}"
                )
        found = [checkpoint.found_as for checkpoint in self.checkpoints]
        for index, name in enumerate(found):
            if name in found[:index]:
                raise ValueError(f"checkpoints[{index}].published_name: {name!r} is named twice")
        check_comparisons(self.comparisons, [checkpoint.name for checkpoint in self.checkpoints])
        return self
