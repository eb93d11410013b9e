"""Which checkpoints stand together: series of mixed architecture, copies, and what the paths tell."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from maxact.published.audit.finding import Finding, M_of, Severity, all_statistics, code, names, table
from maxact.published.records import Published, PublishedCheckpoint

VARIANTS = ("moe", "text", "vl")
"""Parts of a model type that name a variant of one generation."""

HOMES = tuple(f"/{folder}/" for folder in ("root", "home", "Users"))


def mixed_series(published: Published) -> Finding | None:
    """Checkpoints filed in a series most of whose members are of another generation of architecture."""
    series = defaultdict(list)
    for checkpoint in published.checkpoints:
        series[checkpoint.series].append(checkpoint)
    rows: list[dict[str, Any]] = []
    effects: list[str] = []
    for name, members in sorted(series.items()):
        bases = Counter(_base(checkpoint.model_type) for checkpoint in members)
        usual, count = bases.most_common(1)[0]
        strangers = [checkpoint for checkpoint in members if _base(checkpoint.model_type) != usual]
        if not strangers or count < 2:
            continue
        rest = [checkpoint for checkpoint in members if checkpoint not in strangers]
        effects.append(
            f"in {name} M falls from one size to the next at {_falls(members)} steps with them and at {_falls(rest)} without"
        )
        for stranger in strangers:
            row = {"checkpoint": stranger.name, "series": name, "model_type": stranger.model_type, "others": usual}
            rows.append({**row, "M": M_of(stranger), "data": stranger.data_path.rpartition("/")[2]})
    if not rows:
        return None
    return Finding(
        "mixed_series",
        "A checkpoint filed under another generation",
        Severity.CONCLUSION,
        f"In a series whose other members have another model_type: {names([row['checkpoint'] for row in rows])}. What is said "
        f"of a series from small to large changes: {'; '.join(effects)} (size by layers times hidden_size squared).",
        f"model_type by folder; {code('run.sh', 'lines 56 to 59')}",
        table(rows),
    )


def _base(model_type: str) -> str:
    """A model type without what names a variant: `qwen3` of `qwen3_moe`."""
    return "_".join(part for part in model_type.split("_") if part not in VARIANTS)


def _falls(members: Sequence[PublishedCheckpoint]) -> int:
    ordered = sorted(members, key=lambda checkpoint: checkpoint.layers * checkpoint.hidden_size**2)
    values = [value for checkpoint in ordered if (value := M_of(checkpoint)) is not None]
    return sum(later < earlier for earlier, later in pairwise(values))


def copies(published: Published) -> Finding | None:
    """Files of different checkpoints or subsets that hold the same statistics."""
    groups = defaultdict(list)
    for name, checkpoint in all_statistics(published):
        if checkpoint.sites:
            groups[json.dumps(checkpoint.sites, sort_keys=True)].append((name, checkpoint.file))
    rows = [
        {"checkpoint": name, "file": file, "same_as": found[0][1]}
        for found in groups.values()
        for name, file in found[1:]
    ]
    if not rows:
        return None
    return Finding(
        "copies",
        "The same statistics twice",
        Severity.CONCLUSION,
        f"{len(rows)} files have every statistic of every site in common with another file, under another name: one "
        "measurement counts as two.",
        "per_layer_stats of all files",
        table(sorted(rows, key=lambda row: row["file"])),
    )


def local_paths(published: Published) -> Finding | None:
    """Files with paths of the machine that they were made on."""
    found = defaultdict(list)
    for _, checkpoint in all_statistics(published):
        if checkpoint.data_path.startswith(HOMES):
            found[checkpoint.data_path.rpartition("/")[0]].append(checkpoint.file)
    if not found:
        return None
    rows = [{"folder": folder, "files": len(files), "first": min(files)} for folder, files in sorted(found.items())]
    return Finding(
        "local_paths",
        "Paths of one machine",
        Severity.COSMETIC,
        f"{sum(map(len, found.values()))} files name their data by its path on the machine that made them. They name no "
        "revision of the data or of the weights, so neither can be had again from them.",
        "data_path",
        table(rows),
    )
