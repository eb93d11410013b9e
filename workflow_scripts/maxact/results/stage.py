"""The stage `results`: all measurements of a study joined into tables, and into the frames that figures draw."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maxact.measurement import read_table
from maxact.results import tables
from maxact.results.registry import TABLES
from maxact.results.tables import LIMITS, Member, short_ancestry, site_name
from maxact.results.text import to_csv, to_html, to_markdown
from maxact.store.job import Job, Product

SHOWN = {
    "instrument_check": tables.instrument_check,
    "checkpoints": tables.checkpoints,
    "global_maxima": tables.global_maxima,
    "int8": tables.int8,
}
FRAMES = {"layers": tables.layers, "errors": tables.errors}


def compute(job: Job) -> Product:
    """CSV, Markdown and HTML of each table, a Parquet file for each frame; the summary has the closing table."""
    asked = job.parameters["checkpoints"]
    absent = {item["name"]: reason for item in asked if (reason := _unavailable(job, item["name"]))}
    members = [_member(job, **item) for item in asked if item["name"] not in absent]
    files = {}
    for name, table in SHOWN.items():
        frame = table(members)
        if name == "checkpoints":
            frame = tables.with_absent(frame, absent)
        texts = {"csv": to_csv(frame), "md": to_markdown(frame), "html": to_html(frame, TABLES[name].title)}
        for suffix, text in texts.items():
            files[f"{name}.{suffix}"] = file = job.scratch / f"{name}.{suffix}"
            file.write_text(text, encoding="utf-8")
    for name, table in FRAMES.items():
        files[f"{name}.parquet"] = file = job.scratch / f"{name}.parquet"
        # Without pandas' own notes, which would change with its version.
        pq.write_table(pa.Table.from_pandas(table(members), preserve_index=False).replace_schema_metadata(None), file)
    verdicts = tables.instrument_check(members)["verdict"]
    exact = int((verdicts == "exact").sum())
    summary = {
        "instrument_check": f"{exact} of {len(verdicts)} planted peaks recovered exactly",
        "checkpoints": [_closing_row(member) for member in tables.in_order(members)],
        "absent": absent,
    }
    return Product(files=files, summary=summary)


def _unavailable(job: Job, name: str) -> str | None:
    """Why an optional checkpoint could not be had, if it could not."""
    reason: str | None = job.inputs[f"measure/{name}"].summary.get("unavailable")
    return reason


def _member(job: Job, name: str, family: str) -> Member:
    check = f"loading_check/{name}"
    return Member(
        name=name,
        family=family,
        summary=job.inputs[f"checkpoint/{name}"].summary,
        headline=job.inputs[f"measure/{name}"].summary,
        sites=read_table(job.path(f"measure/{name}", "sites.parquet")),
        top=read_table(job.path(f"measure/{name}", "top.parquet")),
        errors=pd.read_parquet(job.path(f"quantize/{name}", "errors.parquet")),
        check=json.loads(job.path(check, "perplexity.json").read_text(encoding="utf-8"))
        if check in job.inputs
        else None,
        tokens=job.inputs[f"tokens/{family}"].summary,
    )


def _closing_row(member: Member) -> dict[str, Any]:
    M = member.headline["M"]
    row = {"checkpoint": member.name, "planted": member.kind == "planted", "nonfinite": member.headline["nonfinite"]}
    row |= {"weights": short_ancestry(member.summary["ancestry"])}
    if M is None:
        return row | {"M": None}
    where = f"{site_name(M['component'], M['layer'])}, channel {M['channel']}, sample {M['sample']}, position {M['position']}"
    headroom = {name: limit / M["value"] if M["value"] else None for name, limit in LIMITS.items()}
    return row | {"M": M["value"], "where": where, "headroom": headroom}
