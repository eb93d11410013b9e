"""Some of the samples of a table of tokens, chosen as its splits are."""

from __future__ import annotations

from typing import Any

from maxact.tokens import split


def chosen(rows: list[dict[str, Any]], samples: int | None, seed: int) -> list[dict[str, Any]]:
    """All rows, or so many, each domain its share.

    Args:
        rows: with `id` and `domain`.
    """
    if samples is None:
        return rows
    splits = split([(row["id"], row["domain"]) for row in rows], {"calibration": samples, "evaluation": 0}, seed)
    return [row for row in rows if splits[row["id"]] == "calibration"]
