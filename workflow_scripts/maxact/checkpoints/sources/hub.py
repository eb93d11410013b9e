"""A pinned commit of a repository on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maxact.checkpoints.folder import check_model_type, read_config
from maxact.errors import UserError
from maxact.hub.download import download
from maxact.store.job import Job
from maxact.study import Hub


def take(job: Job, source: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The files that the lock file pins; one that the store has is not downloaded again.

    Downloads are kept in the store's folder `downloads` until all are there, so that a broken one is gone on with.

    Raises:
        UserError: nothing pins the source, or it cannot be had.
    """
    pin = Hub(**source).pin
    if pin is None:
        raise UserError(f"checkpoint {job.name}: {source['repository']} is not pinned; run `maxact pin`")
    if "config.json" not in pin.files:
        raise UserError(
            f"checkpoint {job.name}: the lock file has {source['repository']} without weights; run `maxact pin`"
        )
    folder = job.store.root / "downloads" / f"{source['repository'].replace('/', '--')}@{pin.commit}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in pin.files.items():
        if (folder / name).is_symlink():  # of an earlier time: what it leads to may be damaged since, or gone
            (folder / name).unlink()
        kept = job.store.find(file.digest.removeprefix("sha256:"), Path(name).suffix)
        if kept is not None and not (folder / name).exists():
            (folder / name).symlink_to(kept.resolve())
    # The configuration alone first, as the weights may be many gigabytes.
    download(source["repository"], pin.commit, {"config.json": pin.files["config.json"]}, folder)
    check_model_type(folder, job.name, job.parameters["model_type"])
    download(source["repository"], pin.commit, pin.files, folder)
    named = f"{source['repository']}@{pin.commit}"
    return folder, {"planted": False, "ancestry": ancestry(folder), "licence": pin.licence, "source": named}


def ancestry(folder: Path) -> str:
    """What the released weights are, which bfloat16 is made of: "as released", or a quantized format."""
    method = (read_config(folder).get("quantization_config") or {}).get("quant_method")
    return f"dequantized from {str(method).upper()}" if method else "as released"
