"""Rows of a data set, read as a stream by `datasets`: from the hub at a pinned commit, or from pinned files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import httpx2
import pyarrow as pa
from huggingface_hub.errors import HfHubHTTPError

from maxact.errors import UnavailableError, UserError
from maxact.hub.client import endpoint
from maxact.store.objects import digest_file

datasets.disable_progress_bars()
datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else each file that is opened, local ones too, tells a server so

FORMATS = {".parquet": "parquet", ".jsonl": "json", ".json": "json"}
PACKED = (".gz", ".zst")


def named(source: Mapping[str, Any]) -> tuple[str, str]:
    """The name of a source as samples carry it, and its licence."""
    if source["kind"] == "files":
        return ", ".join(Path(file["path"]).name for file in source["files"]), "unknown"
    pin = source["pin"]
    return (f"{source['repository']}@{pin['commit']}", pin["licence"]) if pin else (source["repository"], "unknown")


def rows(
    source: Mapping[str, Any], columns: Mapping[str, Any], seed: int | None = None, shuffle_buffer: int = 1
) -> Iterator[Mapping[str, Any]]:
    """Every row; in an order that follows from the seed, or in the data set's own where it is None.

    Raises:
        UserError: nothing pins the source, a file is not there or has another digest, or rows change their form.
        UnavailableError: the hub cannot be reached.
    """
    name, _ = named(source)
    try:
        stream = _open_files(source, columns) if source["kind"] == "files" else _open_hub(source)
        if seed is not None:
            stream = stream.shuffle(seed=seed, buffer_size=shuffle_buffer)
        yield from stream
    except datasets.exceptions.DatasetNotFoundError:
        raise UserError(
            f"corpus: {name}: no such data set, or access is refused; mend `repository`, or accept its terms at "
            f"{endpoint()}/datasets/{source['repository']} and put an access token of yours into HF_TOKEN"
        ) from None
    except (HfHubHTTPError, httpx2.TransportError, ConnectionError) as error:
        raise UnavailableError(f"corpus: {name} cannot be read ({_first_line(error)}); run again later") from None
    except FileNotFoundError as error:
        # `datasets` looks for a folder of that name where it cannot reach the hub, and says that there is none.
        raise UnavailableError(f"corpus: {name}: {endpoint()} cannot be reached ({_first_line(error)})") from None
    except (datasets.exceptions.DatasetsError, pa.ArrowException, ValueError, TypeError, OSError) as error:
        raise UserError(
            f"corpus: {name}: a shard cannot be read, or its columns are not those of the others ({_first_line(error)})"
        ) from None


def column(row: Mapping[str, Any], path: str, name: str) -> Any:
    """What a row has at `path`, such as `meta.redpajama_set_name`.

    Raises:
        UserError: it has no such column; says which it has.
    """
    value: Any = row
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise UserError(f"corpus: {name}: a row has no column {path!r} (it has {known}); mend corpus.columns")
        value = value[part]
    return value


def text_of(row: Mapping[str, Any], path: str, name: str) -> str:
    """The text of a row; a missing one (null) is empty.

    Raises:
        UserError: there is something else than text.
    """
    text = column(row, path, name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise UserError(f"corpus: {name}: column {path!r} holds {type(text).__name__}, not text; mend corpus.columns")
    return text


def _open_files(source: Mapping[str, Any], columns: Mapping[str, Any]) -> Any:
    """The files in the order of the study. The first row of each is looked at, as `datasets` would make text of a number."""
    kinds = set()
    for file in source["files"]:
        path = Path(file["path"])
        if not path.is_file():
            raise UserError(f"{path}: no such file; mend corpus.source.files")
        found = digest_file(path)
        if found != file["sha256"]:
            raise UserError(f"{path}: SHA-256 is {found}, the study pins {file['sha256']}; mend the study or the file")
        suffix = next((suffix for suffix in reversed(path.suffixes) if suffix not in PACKED), "")
        if suffix not in FORMATS:
            raise UserError(f"{path}: neither Parquet nor JSON lines; name .parquet or .jsonl files")
        kinds.add(FORMATS[suffix])
    if len(kinds) > 1:
        raise UserError("corpus.source.files: Parquet and JSON lines are mixed; name files of one format")
    paths = [str(Path(file["path"]).resolve()) for file in source["files"]]
    kind = kinds.pop()
    for shard in paths:
        for row in _stream(kind, [shard]).take(1):
            text_of(row, columns["text"], Path(shard).name)
            if columns["subset"]:
                column(row, columns["subset"], Path(shard).name)
    return _stream(kind, paths)


def _stream(kind: str, paths: list[str]) -> Any:
    return datasets.load_dataset(kind, data_files=paths, split="train", streaming=True)


def _open_hub(source: Mapping[str, Any]) -> Any:
    if source["pin"] is None:
        raise UserError(f"corpus.source: {source['repository']} is not pinned; run `maxact pin`")
    return datasets.load_dataset(
        source["repository"],
        source["configuration"],
        revision=source["pin"]["commit"],
        split=source["split"],
        streaming=True,
    )


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
