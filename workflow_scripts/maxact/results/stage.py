"""The stage `results`: all measurements of a study joined into tables, and into the frames that figures draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maxact.errors import UserError
from maxact.figures.registry import FIGURES
from maxact.measurement import read_table
from maxact.published.records import Severity
from maxact.results import (
    bits_needed,
    claims,
    comparisons,
    components,
    decisions,
    drawn_formats,
    emergence,
    error_link,
    error_vs_m,
    experts,
    granularities,
    headroom,
    how_sure,
    int8_vs_m,
    massive,
    paper_check,
    per_layer,
    perplexity,
    published,
    routers,
    site_winners,
    smoothing,
    tables,
)
from maxact.results.absent import NOT_IN_DATA, with_absent
from maxact.results.claims.pages import page, to_json
from maxact.results.comparisons import Questions
from maxact.results.frames import with_family
from maxact.results.member import FirstLines, Member, in_order, short_ancestry, site_name
from maxact.results.pages import page_files
from maxact.results.registry import CLAIMS, MEASURED, PUBLISHED, SUFFIXES, TABLES, made_of
from maxact.results.samples import class_maxima, sample_maxima, sites_of_M
from maxact.results.tables import LIMITS
from maxact.results.text import to_csv, to_html, to_latex, to_markdown
from maxact.results.witnesses import component_witnesses, witnesses
from maxact.store.job import Job, Product
from maxact.witness import Witnesses


def compute(job: Job) -> Product:
    """Each table in every format, the claims, a Parquet file for each frame of figures; the summary has the closing table.

    Raises:
        UserError: no checkpoint of the study could be had.
    """
    asked = job.parameters["checkpoints"]
    provides = PUBLISHED if "published" in job.inputs else MEASURED
    members, absent = published.published_members(job, asked) if provides == PUBLISHED else _measured(job, asked)
    questions = {item["question"]: dict(item["groups"]) for item in job.parameters["comparisons"]}
    order = [item["name"] for item in asked]
    made = shown(members, questions, absent, provides, job.parameters.get("paper_check"), order)
    if provides == PUBLISHED:
        made["published_problems"] = published.problems_of(job, asked)
    files = {}
    for name, frame in made.items():
        texts = (to_csv(frame), to_markdown(frame), to_latex(frame), to_html(frame, TABLES[name].title))
        for suffix, text in zip(SUFFIXES, texts, strict=True):
            files[f"{name}.{suffix}"] = file = job.scratch / f"{name}.{suffix}"
            file.write_text(text, encoding="utf-8")
    for name, frame in drawn(members, questions, absent, provides, order, asked_of(job, asked)).items():
        files[f"{name}.parquet"] = file = job.scratch / f"{name}.parquet"
        # Without pandas' own notes, which would change with its version.
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None), file)
    judged = claims.claims(members, questions)
    left_out = claims.not_judged(members, absent)
    files |= page_files(job.scratch, CLAIMS, page(judged, left_out), to_json(judged, left_out))
    summary: dict[str, Any] = {
        "checkpoints": [_closing_row(member) for member in in_order(members)],
        "absent": absent,
    }
    if "instrument_check" in made:
        verdicts = made["instrument_check"]["verdict"]
        exact = int((verdicts == "exact").sum())
        told = f"{exact} of {len(verdicts)} planted peaks recovered exactly"
        summary["instrument_check"] = told if len(verdicts) else "not made, as the study has no planted checkpoint"
    if "published_problems" in made:
        found = made["published_problems"]["severity"].value_counts()
        summary["faults"] = {severity: int(found.get(severity, 0)) for severity in get_args(Severity)}
    return Product(files=files, summary=summary)


def shown(
    members: Sequence[Member],
    questions: Questions,
    absent: Mapping[str, str],
    provides: frozenset[str] = MEASURED,
    check: Mapping[str, Any] | None = None,
    order: Sequence[str] = (),
) -> dict[str, pd.DataFrame]:
    """Every table of `TABLES` that can be made of what the study provides, by name; but for `published_problems`.

    Args:
        absent: name -> reason, of the checkpoints that could not be had.
        check: bins, bits and quantile of the paper's check, where the study has it.
        order: names of all checkpoints of the study; those of `absent` take their places.
    """
    as_asked = check or paper_check.AS_PUBLISHED
    every: dict[str, Callable[[], pd.DataFrame]] = {
        "instrument_check": lambda: tables.instrument_check(members),
        "checkpoints": lambda: with_absent(tables.checkpoints(members), absent, order),
        "global_maxima": lambda: with_absent(tables.global_maxima(members), absent, order),
        "components": lambda: components.components(members),
        "witnesses": lambda: witnesses(members),
        "how_sure": lambda: how_sure.how_sure(members),
        "bootstrap": lambda: published.bootstrap(members),
        "without_domain": lambda: how_sure.without_domain(members),
        "groups": lambda: how_sure.groups(members),
        "experts": lambda: experts.experts(members),
        "verdicts": lambda: comparisons.verdicts(members, questions, absent),
        "comparisons": lambda: comparisons.comparisons(members, questions, absent),
        "per_layer_comparison": lambda: per_layer.per_layer_comparison(members, questions),
        "emergence": lambda: emergence.emergence(members),
        "top_and_median": lambda: per_layer.top_and_median(members),
        "massive_coverage": lambda: massive.massive_coverage(members),
        "int8": lambda: tables.int8(members),
        "int8_vs_M": lambda: int8_vs_m.int8_vs_M(members),
        "paper_check": lambda: paper_check.paper_check(members if check else [], **as_asked),
        "paper_check_sites": lambda: paper_check.paper_check_sites(members if check else [], **as_asked),
        "error_link": lambda: error_link.error_link(members),
        "decisions": lambda: decisions.decisions(members),
        "site_winners": lambda: site_winners.site_winners(members),
        "perplexity": lambda: perplexity.perplexity(members),
        "granularities": lambda: granularities.granularities(members),
        "protection": lambda: granularities.protection(members),
        "smoothing": lambda: smoothing.smoothing(members),
        "bits_needed": lambda: bits_needed.bits_needed(members),
        "headroom": lambda: headroom.headroom(members),
    }
    return {name: every[name]() for name in made_of(TABLES, provides) if name in every}


def drawn(
    members: Sequence[Member],
    questions: Questions,
    absent: Mapping[str, str],
    provides: frozenset[str] = MEASURED,
    order: Sequence[str] = (),
    asked_of: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> dict[str, pd.DataFrame]:
    """Every frame that a figure of the study draws, by name, with a row for each checkpoint that could not be had.

    Args:
        absent, order: as of `shown`.
        asked_of: frame -> the checkpoints that it is asked of, where these are not all.
    """
    provides = provides | {question for question, groups in questions.items() if groups}
    every: dict[str, Callable[[], pd.DataFrame]] = {
        "layers": lambda: tables.layers(members),
        "error_by_site": lambda: drawn_formats.error_by_site(members),
        "clipping_curves": lambda: drawn_formats.clipping_curves(members),
        "error_vs_M": lambda: error_vs_m.error_vs_M(members),
        "component_maxima": lambda: components.component_maxima(members),
        "how_sure": lambda: how_sure.how_sure(members),
        "saturation": lambda: how_sure.saturation(members),
        "subsets": lambda: published.subsets(members),
        "domain_maxima": lambda: how_sure.domain_maxima(members),
        "comparisons": lambda: with_family(comparisons.comparisons(members, questions, absent), members),
        "residual_by_depth": lambda: per_layer.residual_by_depth(members, questions),
        "routers_and_gates": lambda: routers.routers_and_gates(members, questions),
        "emergence": lambda: emergence.emergence(members),
        "top_and_median_by_layer": lambda: per_layer.top_and_median_by_layer(members),
        "massive_coverage": lambda: with_family(massive.massive_coverage(members), members),
        "int8_vs_M": lambda: with_family(int8_vs_m.int8_vs_M(members), members),
        "perplexity": lambda: perplexity.perplexity(members),
        "granularities": lambda: granularities.one_policy(members),
    }
    read = {name for figure in made_of(FIGURES, provides).values() for name in figure.reads}
    return {
        name: make() if name in _PLACED else with_absent(make(), _of(absent, asked_of.get(name)), order)
        for name, make in every.items()
        if f"{name}.parquet" in read
    }


_PLACED = ("comparisons", "residual_by_depth", "saturation")
"""Frames that have rows of checkpoints that could not be had, or are drawn beside one that has."""


def _of(absent: Mapping[str, str], names: Collection[str] | None) -> Mapping[str, str]:
    return absent if names is None else {name: reason for name, reason in absent.items() if name in names}


def asked_of(job: Job, asked: Sequence[Mapping[str, Any]]) -> dict[str, Collection[str]]:
    """As `drawn` takes it."""
    if "published" in job.inputs:
        return {"subsets": published.with_subsets(job, asked)}
    stages = {"granularities": "evaluate", "perplexity": "perplexity"}
    return {
        frame: {item["name"] for item in asked if f"{stage}/{item['name']}" in job.inputs}
        for frame, stage in stages.items()
    }


def _measured(job: Job, asked: Sequence[Mapping[str, str]]) -> tuple[list[Member], dict[str, str]]:
    """The checkpoints that were measured, and why the optional ones that were not could not be had.

    Raises:
        UserError: none could be had.
    """
    absent = {item["name"]: reason for item in asked if (reason := _unavailable(job, item["name"]))}
    if len(absent) == len(asked):
        told = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        raise UserError(
            "no checkpoint of the study could be had; delete artifacts/<study>/checkpoint/<name>.json of those to try again: "
            f"{told}"
        )
    return [_member(job, **item) for item in asked if item["name"] not in absent], absent


def _evaluated(job: Job, name: str) -> dict[str, pd.DataFrame]:
    """The tables of the stage `evaluate`, where the checkpoint is evaluated."""
    source = f"evaluate/{name}"
    if source not in job.inputs:
        return {}
    files = {"evaluated": "errors.parquet", "protection": "protection.parquet", "smoothing": "smoothing.parquet"}
    there = job.objects(source)
    return {table: pd.read_parquet(job.path(source, file)) for table, file in files.items() if file in there}


def _unavailable(job: Job, name: str) -> str | None:
    """Why an optional checkpoint could not be had, if it could not."""
    reason: str | None = job.inputs[f"measure/{name}"].summary.get("unavailable")
    return reason


def _member(job: Job, name: str, family: str, role: str) -> Member:
    check, measured, tokens = f"loading_check/{name}", f"measure/{name}", f"tokens/{family}"
    cost = f"perplexity/{name}"
    lines = f"paper_check/{name}"
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
        first_lines=FirstLines(pd.read_parquet(job.path(lines, "histograms.parquet")), job.inputs[lines].summary)
        if lines in job.inputs
        else None,
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
        perplexity=pd.read_parquet(job.path(cost, "perplexity.parquet")) if cost in job.inputs else None,
        quantized=pd.read_parquet(job.path(cost, "sites.parquet")) if cost in job.inputs else None,
        **_evaluated(job, name),
    )


def _closing_row(member: Member) -> dict[str, Any]:
    M = member.headline["M"]
    row = {"checkpoint": member.name, "planted": member.kind == "planted", "nonfinite": member.headline["nonfinite"]}
    row |= {"weights": short_ancestry(member.summary["ancestry"])}
    if M is None:
        return row | {"M": None, "why": "none finite" if member.headline["nonfinite"] else NOT_IN_DATA}
    known = [f"{key} {M[key]}" for key in ("channel", "sample", "position") if M[key] is not None]
    where = ", ".join([site_name(M["component"], M["layer"]), *known])
    headroom = {name: limit / M["value"] if M["value"] else None for name, limit in LIMITS.items()}
    return row | {"M": M["value"], "where": where, "headroom": headroom}
