"""The stage `results`: all measurements of a study joined into tables, and into the frames that figures draw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maxact.measurement import read_table
from maxact.results import (
    bits_needed,
    comparisons,
    components,
    decisions,
    emergence,
    error_link,
    experts,
    headroom,
    how_sure,
    int8_vs_m,
    massive,
    per_layer,
    tables,
)
from maxact.results.comparisons import Questions
from maxact.results.registry import SUFFIXES, TABLES
from maxact.results.samples import class_maxima, sample_maxima, sites_of_M
from maxact.results.tables import LIMITS, Member, short_ancestry, site_name
from maxact.results.text import to_csv, to_html, to_latex, to_markdown
from maxact.results.witnesses import component_witnesses, witnesses
from maxact.store.job import Job, Product
from maxact.witness import Witnesses


def compute(job: Job) -> Product:
    """Each table in every format, a Parquet file for each frame of figures; the summary has the closing table."""
    asked = job.parameters["checkpoints"]
    absent = {item["name"]: reason for item in asked if (reason := _unavailable(job, item["name"]))}
    members = [_member(job, **item) for item in asked if item["name"] not in absent]
    questions = {item["question"]: dict(item["groups"]) for item in job.parameters["comparisons"]}
    files = {}
    for name, frame in shown(members, questions, absent).items():
        texts = (to_csv(frame), to_markdown(frame), to_latex(frame), to_html(frame, TABLES[name].title))
        for suffix, text in zip(SUFFIXES, texts, strict=True):
            files[f"{name}.{suffix}"] = file = job.scratch / f"{name}.{suffix}"
            file.write_text(text, encoding="utf-8")
    for name, frame in drawn(members, questions, absent).items():
        files[f"{name}.parquet"] = file = job.scratch / f"{name}.parquet"
        # Without pandas' own notes, which would change with its version.
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None), file)
    verdicts = tables.instrument_check(members)["verdict"]
    exact = int((verdicts == "exact").sum())
    summary = {
        "instrument_check": f"{exact} of {len(verdicts)} planted peaks recovered exactly",
        "checkpoints": [_closing_row(member) for member in tables.in_order(members)],
        "absent": absent,
    }
    return Product(files=files, summary=summary)


def shown(members: Sequence[Member], questions: Questions, absent: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Every table of `TABLES`, by name."""
    return {
        "instrument_check": tables.instrument_check(members),
        "checkpoints": tables.with_absent(tables.checkpoints(members), absent),
        "global_maxima": tables.global_maxima(members),
        "components": components.components(members),
        "witnesses": witnesses(members),
        "how_sure": how_sure.how_sure(members),
        "without_domain": how_sure.without_domain(members),
        "groups": how_sure.groups(members),
        "experts": experts.experts(members),
        "verdicts": comparisons.verdicts(members, questions, absent),
        "comparisons": comparisons.comparisons(members, questions, absent),
        "per_layer_comparison": per_layer.per_layer_comparison(members, questions),
        "emergence": emergence.emergence(members),
        "top_and_median": per_layer.top_and_median(members),
        "massive_coverage": massive.massive_coverage(members),
        "int8": tables.int8(members),
        "int8_vs_M": int8_vs_m.int8_vs_M(members),
        "error_link": error_link.error_link(members),
        "decisions": decisions.decisions(members),
        "bits_needed": bits_needed.bits_needed(members),
        "headroom": headroom.headroom(members),
    }


def drawn(members: Sequence[Member], questions: Questions, absent: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Every frame that figures draw, by name."""
    return {
        "layers": tables.layers(members),
        "errors": tables.errors(members),
        "component_maxima": components.component_maxima(members),
        "how_sure": how_sure.how_sure(members),
        "saturation": how_sure.saturation(members),
        "domain_maxima": how_sure.domain_maxima(members),
        "comparisons": comparisons.comparisons(members, questions, absent),
        "residual_by_depth": per_layer.residual_by_depth(members, questions),
        "emergence": emergence.emergence(members),
        "top_and_median_by_layer": per_layer.top_and_median_by_layer(members),
        "massive_coverage": massive.massive_coverage(members),
        "int8_vs_M": int8_vs_m.int8_vs_M(members),
    }


def _unavailable(job: Job, name: str) -> str | None:
    """Why an optional checkpoint could not be had, if it could not."""
    reason: str | None = job.inputs[f"measure/{name}"].summary.get("unavailable")
    return reason


def _member(job: Job, name: str, family: str, role: str) -> Member:
    check, measured, tokens = f"loading_check/{name}", f"measure/{name}", f"tokens/{family}"
    sites = read_table(job.path(measured, "sites.parquet"))
    of_M = sites_of_M(sites)
    return Member(
        name=name,
        family=family,
        summary=job.inputs[f"checkpoint/{name}"].summary,
        headline=job.inputs[measured].summary,
        sites=sites,
        top=read_table(job.path(measured, "top.parquet")),
        **{
            table: pd.read_parquet(job.path(f"quantize/{name}", f"{table}.parquet"))
            for table in ("errors", "bits", "curves")
        },
        check=json.loads(job.path(check, "perplexity.json").read_text(encoding="utf-8"))
        if check in job.inputs
        else None,
        tokens=job.inputs[tokens].summary,
        samples=sample_maxima(job.path(measured, "samples.parquet"), job.path(tokens, "tokens.parquet"), of_M),
        classes=class_maxima(job.path(measured, "classes.parquet"), of_M),
        experts=read_table(job.path(measured, "experts.parquet")),
        witnesses=component_witnesses(
            sites, Witnesses(job.path(tokens, "tokens.parquet"), job.path(tokens, "tokenizer.json"))
        ),
        role=role,
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
