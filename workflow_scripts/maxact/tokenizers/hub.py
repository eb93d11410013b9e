"""A tokenizer at a pinned commit of a repository on the hub."""

from __future__ import annotations

from maxact.checkpoints.folder import TOKENIZER_TEXTS
from maxact.errors import UserError
from maxact.hub.download import download
from maxact.store.job import Job, Product
from maxact.study import HubTokenizer


def make(job: Job) -> Product:
    """Its files, as the lock file pins them.

    Raises:
        UserError: nothing pins it, or it cannot be had.
    """
    source = HubTokenizer(**job.parameters)
    if source.pin is None:
        raise UserError(f"tokenizer {job.name}: {source.repository} is not pinned; run `maxact pin`")
    # A checkpoint of the same revision has weights in that pin.
    wanted = {name: pin for name, pin in source.pin.files.items() if name in TOKENIZER_TEXTS}
    folder = job.scratch / "tokenizer"
    download(source.repository, source.pin.commit, wanted, folder)
    named = f"{source.repository}@{source.pin.commit}"
    files = {name: folder / name for name in wanted}
    return Product(files=files, summary={"source": named, "licence": source.pin.licence})
