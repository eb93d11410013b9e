"""The stage `results`, from manifests and stored tables to the files of a study."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from results.members import moe, nothing_finite, planted, real
from tokenizers import Tokenizer, models

from maxact.errors import UserError
from maxact.figures.registry import FIGURES
from maxact.measurement import SCHEMAS
from maxact.perplexity.stage import SCHEMA as PERPLEXITY
from maxact.perplexity.stage import SITES as PERPLEXITY_SITES
from maxact.quantize.protection import PROTECTION
from maxact.quantize.stage import BITS, CURVES, SCHEMA
from maxact.results.member import Member
from maxact.results.registry import CLAIMS, MEASURED, PAGE_SUFFIXES, SUFFIXES, TABLES, made_of
from maxact.results.stage import compute
from maxact.stages import STAGES
from maxact.store.job import Job, Product
from maxact.store.objects import Manifest, Store
from maxact.tokens import SCHEMA as TOKENS


def job_on(members: list[Member], folder: Path) -> Job:
    """A job of the stage whose inputs are what the stages above store; weights and corpus are not there."""
    store, inputs = Store(folder / "store"), {}

    def put(stage: str, name: str, summary: object, tables: dict[str, tuple[pd.DataFrame, pa.Schema]]) -> None:
        objects = {}
        for table, (frame, schema) in tables.items():
            file = folder / f"{table}.parquet"
            pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), file)
            objects[file.name] = store.put(file)
        if stage == "loading_check":
            (folder / "perplexity.json").write_text(json.dumps(summary))
            objects["perplexity.json"] = store.put(folder / "perplexity.json")
        if stage == "tokens":
            objects["tokenizer.json"] = store.put(write_tokenizer(folder / "tokenizer.json"))
        assert isinstance(summary, dict)
        inputs[f"{stage}/{name}"] = Manifest(stage, name, "0" * 64, {}, objects, summary)

    for member in members:
        tables = {"sites": (member.sites, SCHEMAS["sites"]), "top": (member.top, SCHEMAS["top"])}
        put("checkpoint", member.name, dict(member.summary), {})
        put("tokens", member.family, dict(member.tokens), {"tokens": (tokens_of(member), TOKENS)})
        put("measure", member.name, dict(member.headline), {**tables, **seen_by(member)})
        quantized = {"errors": (member.errors, SCHEMA), "bits": (member.bits, BITS), "curves": (member.curves, CURVES)}
        put("quantize", member.name, {}, quantized)
        if member.perplexity is not None and member.quantized is not None:
            cost = {"perplexity": (member.perplexity, PERPLEXITY), "sites": (member.quantized, PERPLEXITY_SITES)}
            put("perplexity", member.name, {}, cost)
        if len(member.evaluated):
            finer = {"errors": (member.evaluated, SCHEMA), "protection": (member.protection, PROTECTION)}
            put("evaluate", member.name, {}, finer)
        if member.check:
            put("loading_check", member.name, dict(member.check), {})
    scratch = folder / "scratch"
    scratch.mkdir()
    checkpoints = [{"name": member.name, "family": member.family, "role": member.role} for member in members]
    comparisons = [{"question": "scaling", "groups": []}]
    comparisons += [{"question": "generations", "groups": [["all", [member.name for member in members]]]}]
    parameters = {
        "checkpoints": checkpoints,
        "comparisons": comparisons,
        "formats": ["int8"],
        "policies": ["max", "quantile_0.999"],
    }
    return Job("results", "results", parameters, inputs, STAGES["results"].uses, store, scratch)


def write_tokenizer(file: Path) -> Path:
    """One that knows no word but one, and is enough for the text of token 1."""
    Tokenizer(models.WordLevel({"[unknown]": 0, "word": 1}, "[unknown]")).save(str(file))
    return file


def tokens_of(member: Member) -> pd.DataFrame:
    frame = member.samples.assign(id="x", split="rest", token_ids=[[1] * count for count in member.samples.tokens])
    return frame[TOKENS.names]


def seen_by(member: Member) -> dict[str, tuple[pd.DataFrame, pa.Schema]]:
    """Tables of a measurement that has all of the samples and classes at its first site."""
    samples = pd.DataFrame({"site": 0, "sample": member.samples["sample"], "max": 0.0, "min": -member.samples.abs_max})
    samples = samples.reindex(columns=SCHEMAS["samples"].names)
    classes = member.classes.assign(site=0).reindex(columns=SCHEMAS["classes"].names)
    frames = {"samples": samples, "classes": classes, "experts": member.experts}
    return {name: (frame, SCHEMAS[name]) for name, frame in frames.items()}


@pytest.fixture
def product(tmp_path: Path) -> Product:
    return compute(job_on([planted(), real(token="=|evil`<b>\n"), moe()], tmp_path))


def test_it_makes_every_table_and_what_every_figure_reads(product: Product) -> None:
    tables = {f"{name}.{suffix}" for name in made_of(TABLES, MEASURED) for suffix in SUFFIXES}
    read = {name for figure in made_of(FIGURES, MEASURED | {"generations"}).values() for name in figure.reads}
    pages = {f"{CLAIMS}.{suffix}" for suffix in PAGE_SUFFIXES}
    assert tables | pages | read == set(product.files)
    for name in [name for name in product.files if name.endswith(".parquet")]:
        schema = pq.read_schema(product.files[name])
        assert schema.metadata is None


def test_the_summary_closes_the_run(product: Product) -> None:
    assert product.summary["instrument_check"] == "2 of 2 planted peaks recovered exactly"
    rows = product.summary["checkpoints"]
    assert [row["planted"] for row in rows] == [False, True, True]
    assert rows[0]["where"] == "residual@11, channel 507, sample 3, position 0"
    assert rows[0]["weights"] == "dequantized from GGUF Q4_1"
    json.dumps(product.summary, allow_nan=False)


def test_a_peak_that_was_not_recovered_is_counted(tmp_path: Path) -> None:
    wrong = planted("wrong")
    summary = {**wrong.summary, "peak": {**wrong.summary["peak"], "channel": 1}}
    product = compute(job_on([planted(), replace(wrong, summary=summary)], tmp_path))
    assert product.summary["instrument_check"] == "1 of 2 planted peaks recovered exactly"


def test_without_planted_checkpoints_no_peak_is_said_to_be_recovered(tmp_path: Path) -> None:
    product = compute(job_on([real()], tmp_path))
    assert product.summary["instrument_check"] == "not made, as the study has no planted checkpoint"


def test_a_study_of_which_nothing_could_be_had_is_one_line_with_the_reasons(tmp_path: Path) -> None:
    reasons = {"far": "no network; run again later", "gone": "its wheel is gone"}
    asked = [{"name": name, "family": "x", "role": "main"} for name in reasons]
    inputs = {
        f"measure/{name}": Manifest("measure", name, "0" * 64, {}, {}, {"unavailable": reason})
        for name, reason in reasons.items()
    }
    job = job_on([], tmp_path)
    with pytest.raises(UserError, match=r"far: no network; run again later; gone: its wheel is gone$") as caught:
        compute(replace(job, inputs=inputs, parameters={**job.parameters, "checkpoints": asked}))
    assert str(caught.value).startswith("no checkpoint of the study could be had; delete artifacts/<study>/checkpoint/")


def test_hostile_token_text_stays_text(product: Product) -> None:
    markdown = product.files["global_maxima.md"].read_text()
    assert "<b>" not in markdown
    token = pd.read_csv(product.files["global_maxima.csv"]).token[0]
    assert token == "'=|evil`<b>\\n"
    assert r"=\textbar{}evil\textasciigrave{}\textless{}b\textgreater{}\textbackslash{}n" in (
        product.files["global_maxima.tex"].read_text()
    )


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    members = [real(), planted(), nothing_finite()]
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        product = compute(job_on(members, tmp_path / name))
        found.append({item: file.read_bytes() for item, file in product.files.items()})
    assert found[0] == found[1]


def test_bits_decide_nothing_that_the_maxima_figures_read(tmp_path: Path) -> None:
    """So that a change of bits redraws the INT-8 figure only."""
    member = real()
    other = replace(member, errors=member.errors.assign(format="int6", relative_rmse=0.5))
    found = []
    for name, one in (("a", member), ("b", other)):
        (tmp_path / name).mkdir()
        found.append(compute(job_on([one], tmp_path / name)).files)
    same = [name for name in found[0] if found[0][name].read_bytes() == found[1][name].read_bytes()]
    read = {name for name, figure in made_of(FIGURES, MEASURED).items() for item in figure.reads if item not in same}
    assert read == {
        *("clipping_curve", "error_vs_M", "int8_vs_M", "perplexity_cost"),
        *(
            f"{name}_{kind}"
            for name in ("error_by_site", "granularity_heatmap")
            for kind in ("linear_inputs", "kv_cache", "residual")
        ),
    }
    assert not {"int8.csv", "error_by_site.parquet"} & set(same)
