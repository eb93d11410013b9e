"""One checkpoint outside a study: the same measurement, told as text or as JSON."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from maxact.checkpoints.folder import read_config
from maxact.checkpoints.gguf import convert
from maxact.checkpoints.load import load_model
from maxact.errors import UserError
from maxact.measure.headline import headline
from maxact.measure.parts import Part
from maxact.measure.run import Sample, observe
from maxact.measurement import QUANTILES, Measurement
from maxact.sample_files import read_text_lines, read_token_lines
from maxact.shards import Shard, deciding
from maxact.sites.components import COMPONENTS
from maxact.sites.legend import LEGEND
from maxact.sites.registry import OWN_CODE
from maxact.tokens import token_texts, tokenize
from maxact.wheels import cache_folder

HUB = "hf:"
"""Before a repository of the hub, where a source may also be a folder or file."""


def measure_source(
    source: str,
    tokens: Path | None,
    text: Path | None,
    dtype: str,
    attention: str,
    device: str,
    shard: Shard | None,
    batch_tokens: int | None,
    decided: bool,
) -> tuple[str, Part]:
    """Measure a checkpoint on the samples of a file.

    Args:
        source: a folder with config.json and safetensors, a `.gguf` file, or `hf:REPOSITORY` or `hf:REPOSITORY@REVISION`.
        tokens: token ids (see `read_token_lines`), or None.
        text: text (see `read_text_lines`) if `tokens` is None; the checkpoint's own tokenizer makes ids of it, without
            special tokens.
        dtype, attention, device: as in `load_model`.
        shard: which of the samples are run; all without it.
        batch_tokens: as in `observe`.
        decided: whether the part says all that decides it (`deciding`), as a shard's does; this reads all weights once more.

    Returns:
        The checkpoint's name, of the hub with its commit, and what was seen, with the text of its tokens; all samples are
        in the split `rest`.

    Raises:
        UserError: the source or the samples cannot be used.
    """
    lines = read_token_lines(tokens) if tokens else []
    texts = read_text_lines(text) if text else []
    with tempfile.TemporaryDirectory() as scratch:
        name, folder = _from_hub(source) if source.startswith(HUB) else _from_path(Path(source), Path(scratch))
        _refuse_own_code(source, folder)
        tokenizer = folder / "tokenizer.json"
        if texts and not tokenizer.exists():
            raise UserError(f"{source}: has no tokenizer.json; give --tokens instead of --text")
        lines = lines or tokenize(texts, tokenizer)
        samples = [Sample(number, "rest", tuple(ids)) for number, ids in enumerate(lines)]
        model = load_model(folder, dtype=dtype, attention=attention, device=device)
        vocabulary = token_texts(tokenizer, {token for line in lines for token in line}) if tokenizer.exists() else None
        chosen = shard.of(len(samples)) if shard else None
        about = deciding(name, folder, attention, device, len(samples)) if shard or decided else None
        everything = list(COMPONENTS)
        part = observe(
            model, samples, everything, vocabulary, batch_tokens=batch_tokens, about=about, chosen=chosen
        ).part
        part.vocabulary = vocabulary
        return name, part


def _from_path(source: Path, scratch: Path) -> tuple[str, Path]:
    """Name and folder of a checkpoint of this machine."""
    if not source.exists():
        raise UserError(
            f"{source}: no such file or folder; give a .gguf file, a folder with config.json and safetensors, or "
            f"{HUB}REPOSITORY@REVISION"
        )
    if source.suffix == ".gguf":
        convert(source, scratch)
        return source.stem, scratch
    if not source.is_dir():
        raise UserError(f"{source}: neither a folder nor a .gguf file; give one with config.json and safetensors")
    return source.resolve().name, source


def _refuse_own_code(source: str, folder: Path) -> None:
    model_type = read_config(folder)["model_type"]
    if model_type in OWN_CODE:
        raise UserError(
            f"{source}: a {model_type} checkpoint brings code of its own, which this command does not run; measure it in a "
            "study, which opts in with remote_code and environment: ling"
        )


def _from_hub(source: str) -> tuple[str, Path]:
    """Name and folder of a checkpoint of the hub, in the cache of downloads; its revision is resolved to a commit first."""
    from maxact.hub.download import download
    from maxact.hub.pin import pin_of
    from maxact.study import Hub
    from maxact.study.hub import Pin

    repository, _, revision = source.removeprefix(HUB).partition("@")
    try:
        asked = Hub(kind="hub", repository=repository, revision=revision or "main")
    except ValueError:
        raise UserError(
            f"{source}: not a repository of the hub; give {HUB}OWNER/NAME or {HUB}OWNER/NAME@REVISION"
        ) from None
    pin = Pin(**pin_of(asked))
    folder = cache_folder() / "hub" / f"{repository.replace('/', '--')}@{pin.commit}"
    # The configuration alone first, as the weights may be many gigabytes.
    download(repository, pin.commit, {"config.json": pin.files["config.json"]}, folder)
    _refuse_own_code(source, folder)
    download(repository, pin.commit, pin.files, folder)
    return f"{repository}@{pin.commit}", folder


def nonfinite_total(measurement: Measurement) -> int:
    """How many activations of the measurement are NaN or infinite."""
    return int(measurement.sites[["nan", "positive_infinity", "negative_infinity"]].sum().sum())


def to_json(checkpoint: str, measurement: Measurement) -> str:
    """One JSON object: `checkpoint`, `M`, `sites`; numbers that are not finite are null."""
    measured = measurement.sites[measurement.sites.status == "measured"]
    absent = measurement.sites[measurement.sites.status != "measured"]
    report = {
        "checkpoint": checkpoint,
        "M": headline(measurement)["M"],
        "sites": [_site(row) for row in measured.to_dict("records")],
        "not_applicable": [_named(row) for row in absent.to_dict("records")],
    }
    return json.dumps(_plain(report), allow_nan=False)


def to_text(checkpoint: str, measurement: Measurement) -> str:
    """M and where, for people."""
    M = headline(measurement)["M"]
    if M is None:
        return f"{checkpoint}: no activation is finite"
    layer = "" if M["layer"] is None else f" of layer {M['layer']}"
    place = (
        f"{LEGEND[M['component']].label}{layer}, channel {M['channel']}, sample {M['sample']}, position {M['position']}"
    )
    ties = f"\nthe same |x| at: {', '.join(_tie(tie) for tie in M['ties'])}" if M["ties"] else ""
    return f"{checkpoint}: M = {M['value']:,.6g} (value {M['signed']:,.6g}) at {place}{ties}"


def _tie(tie: dict[str, Any]) -> str:
    return tie["component"] if tie["layer"] is None else f"{tie['component']}@{tie['layer']}"


def _named(row: dict[Any, Any]) -> dict[str, Any]:
    return {"component": row["component"], "layer": row["layer"]}


def _site(row: dict[Any, Any]) -> dict[str, Any]:
    plain = ["dtype", "rounded", "count", "max", "min", "mean", "std", "abs_mean", "rms", "abs_median"]
    massive = ["tokens", "tokens_passed", "max_ratio", "peak_ratio"]
    nonfinite = ["nan", "positive_infinity", "negative_infinity"]
    place = {key: row[f"nonfinite_{key}"] for key in ("sample", "position", "channel")}
    return {
        **_named(row),
        **{key: row[key] for key in plain},
        "quantiles": {q: row[f"quantile_{q}"] for q in QUANTILES},
        "massive": {key: row[f"massive_{key}"] for key in massive},
        "nonfinite": {**{key: row[key] for key in nonfinite}, "first": None if pd.isna(place["sample"]) else place},
    }


def _plain(value: Any) -> Any:
    """The same in types that JSON has; what is missing or not finite is None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or value is pd.NA:
        return None
    if isinstance(value, str | bool):
        return value
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number
