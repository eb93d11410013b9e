"""What is read of the samples, classes and experts of a measurement: reduced at once, as a study has millions of rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maxact.measurement import TOKEN_CLASSES, read_table
from maxact.sites.components import COMPONENTS

GROUPS = ("domain", "language", "script", "length_bucket")
"""What a sample is counted by; columns of `tokens.parquet`."""


def sites_of_M(sites: pd.DataFrame) -> list[int]:
    """The numbers of the measured sites that M is over."""
    in_M = sites.component.map(lambda name: COMPONENTS[name].in_M)
    return [int(site) for site in sites.site[in_M & (sites.status == "measured")]]


def sample_maxima(samples: Path, tokens: Path, sites: list[int]) -> pd.DataFrame:
    """A row for each sample: its number, groups, count of tokens, and `abs_max`, NaN where nothing is finite.

    Args:
        samples: a `samples.parquet`.
        tokens: the `tokens.parquet` that was measured.
        sites: over which the largest |x| is taken.
    """
    read = pq.read_table(samples, columns=["site", "sample", "max", "min"], filters=pc.field("site").isin(sites))
    extremes = pc.max_element_wise(read["max"], pc.negate(read["min"]), skip_nulls=True)
    found = read.append_column("abs_max", extremes).group_by("sample").aggregate([("abs_max", "max")]).to_pandas()
    rows = pq.read_table(tokens, columns=["sample", *GROUPS, "token_ids"])
    lengths = pc.list_value_length(rows["token_ids"])
    frame = rows.drop_columns("token_ids").append_column("tokens", lengths).to_pandas()
    by_sample = found.set_index("sample")["abs_max_max"].astype("float64")
    return frame.assign(abs_max=frame["sample"].map(by_sample))


def class_maxima(classes: Path, sites: list[int]) -> pd.DataFrame:
    """A row for each class of tokens: how many there are, and `abs_max`, NaN where nothing is finite."""
    frame = read_table(classes)
    frame = frame[frame.site.isin(sites)]
    found = frame.groupby("token_class").agg(tokens=("tokens", "max"), abs_max=("abs_max", "max"))
    return found.reindex(list(TOKEN_CLASSES)).reset_index()


def strata(samples: pd.DataFrame) -> Mapping[str, pd.Series]:
    """The maxima of the samples that have a finite value, by domain."""
    finite = samples[samples.abs_max.notna()]
    return {str(domain): part.abs_max for domain, part in finite.groupby("domain")}
