"""The stage `sensitivity`: all variants of a study as one table and one figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from maxact.figures.style import save, styled
from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import short_ancestry, site_name
from maxact.results.text import to_csv, to_html, to_latex, to_markdown
from maxact.sensitivity.drawn import draw
from maxact.store.job import Job, Product

NAME = "sensitivity"
TITLE = "By how much M depends on choices"

_TYPES = {
    **MARK_TYPES,
    "varied": "str",
    "setting": "str",
    "M": "float64",
    "change": "float64",
    "site": "str",
    "channel": "Int64",
    "sample": "Int64",
    "position": "Int64",
    "tokens": "Int64",
    "note": "str",
}


def compute(job: Job) -> Product:
    """The table in every format, and the figure as PDF and PNG."""
    frame = table(job)
    texts = {"csv": to_csv(frame), "md": to_markdown(frame), "tex": to_latex(frame), "html": to_html(frame, TITLE)}
    files = {}
    for suffix, text in texts.items():
        files[f"{NAME}.{suffix}"] = file = job.scratch / f"{NAME}.{suffix}"
        file.write_text(text, encoding="utf-8")
    style = job.parameters["style"]
    with styled(style):
        files |= save(draw(frame, style), job.scratch, NAME, style["dots_per_inch"])
    return Product(files=files)


def table(job: Job) -> pd.DataFrame:
    """A row for each checkpoint and variant; `change` is M by that of the study's own settings, less 1."""
    rows = []
    for checkpoint in job.parameters["checkpoints"]:
        about = job.inputs[f"checkpoint/{checkpoint}"].summary
        own = None
        for variant in job.parameters["variants"]:
            found = job.inputs[f"variant/{checkpoint}.{variant['name']}"].summary
            row: dict[str, Any] = {"checkpoint": checkpoint, "kind": "real", "nonfinite": found.get("nonfinite")}
            row |= {"weights": short_ancestry(about["ancestry"]) if "ancestry" in about else "not available"}
            row |= {"varied": "nothing" if variant["setting"] is None else variant["setting"].replace("_", " ")}
            row |= {"setting": "the study's own" if variant["setting"] is None else str(variant["value"])}
            row |= {"note": found.get("unavailable") or found.get("not_applicable") or _note(variant, found)}
            M = found.get("M")
            if M is not None:
                own = M["value"] if variant["setting"] is None else own
                row |= {"M": M["value"], "change": M["value"] / own - 1 if own else None}
                row |= {"site": site_name(M["component"], M["layer"]), "tokens": found["tokens"]}
                row |= {key: M[key] for key in ("channel", "sample", "position")}
            rows.append(row)
    return typed(rows, _TYPES).fillna({"site": "", "note": ""})


def _note(variant: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Where something else was done than was asked for."""
    setting, value = variant["setting"], variant["value"]
    if setting in ("attention", "batch_tokens") and found[setting] != value:
        return f"ran with {found[setting]}"
    return "no activation is finite" if found.get("M") is None else ""
