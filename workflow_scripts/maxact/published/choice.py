"""Which result files a study is of, known when the workflow is read: by their digests, wherever they are.

A folder that is given on the command line comes before MAXACT_PUBLISHED, and that before the study's repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from maxact.published.files import file_digests

if TYPE_CHECKING:
    from maxact.study import PublishedStudy


def published_source(study: PublishedStudy) -> dict[str, Any]:
    """Parameters of the stage `published`. Where nothing pins the repository's files there are none yet.

    Raises:
        UserError: a folder is given, and there is none, or no result file in it.
    """
    folder = study.results_folder
    if folder is not None:
        return {"results": folder, "files": file_digests(Path(folder))}
    source = study.published
    pins = source.pin.files if source.pin else {}
    return {
        **source.model_dump(exclude={"pin"}),
        "files": {path: pin.digest.removeprefix("sha256:") for path, pin in pins.items()},
        "sizes": {path: pin.size for path, pin in pins.items()},
    }
