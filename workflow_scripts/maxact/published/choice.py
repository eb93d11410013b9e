"""Which result files a study is of, known when the workflow is read: by their digests, wherever they are.

A folder that is given on the command line comes before MAXACT_PUBLISHED, and that before the study's repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from maxact.published.listing import file_digests
from maxact.published.where import note_source
from maxact.study.published import PublishedPin

if TYPE_CHECKING:
    from maxact.study import PublishedStudy


def published_source(study: PublishedStudy) -> dict[str, Any]:
    """Parameters of the stages that read result files. Where nothing pins the repository's files there are none yet.

    Raises:
        UserError: a folder is given, and there is none, or no result file in it.
    """
    folder = study.results_folder
    return {"files": study.published.digests() if folder is None else file_digests(Path(folder))}


def note_source_of(study: PublishedStudy, store: Path) -> None:
    """Note in a store where the result files of a study are; nothing where neither a folder nor the repository has them.

    Raises:
        UserError: see `published_source`.
    """
    source = study.published
    if study.results_folder is not None:
        told: dict[str, Any] = {"folder": str(Path(study.results_folder).resolve())}
    elif isinstance(source.pin, PublishedPin):
        told = source.model_dump(exclude={"pin"}) | {
            "sizes": {path: pin.size for path, pin in source.pin.files.items()}
        }
    else:
        return
    note_source(store, published_source(study)["files"], told)
