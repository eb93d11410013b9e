"""The stored measurement: seven tables, readable with pandas alone, free of any number format.

Everything that a later question needs is here, so that no later question needs the model:

* `sites`       one row per site, in forward order: shape, counts, moments, quantiles, peak, massive-activation test
* `histograms`  one row per site, split and 16-bit code that occurred: the exact distribution, signed
* `samples`     one row per site and sample: largest and smallest finite value, each with position and channel
* `channels`    one row per site and channel: largest finite |x|, over all samples and on the calibration split
* `top`         the 100 largest finite |x| of each site, each with sample, position, channel and token
* `classes`     one row per site and class of tokens: first, BOS, delimiters, others; the largest |x| on each
* `experts`     one row per layer with routed experts, expert and component inside experts: tokens seen, largest |x|

Rows are sorted by their key columns. A place is (sample, position, channel), counted from 0; inside routed experts, which
work on a row for each token and expert chosen for it, the expert stands before the channel. Among equal values the first
place counts. A code is the bit pattern of a value in the site's own 16-bit dtype; a float32 site has exact
extremes, a histogram of its values rounded to bfloat16, and `rounded` set.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SPLITS = ("calibration", "evaluation", "rest")
"""In the order of the codes in `histograms.split`."""

QUANTILES = ("0.25", "0.75", "0.9", "0.99", "0.999", "0.9999", "0.99999")
"""Quantiles of |x| kept in `sites` (columns `quantile_<q>`): the smallest |x| with CDF >= q. 0.5 is `abs_median`."""

TOP = 100

TOKEN_CLASSES = ("first", "bos", "delimiter", "other")
"""Of the table `classes` (`measure/rows.py` defines them)."""

PROBE = "probe.json"
"""Kept beside the tables: digests of the tables of a few samples measured alone (`measure/probe.py`)."""

_PLACE = [("sample", pa.int32()), ("position", pa.int32()), ("channel", pa.int32())]

SCHEMAS: dict[str, pa.Schema] = {
    "sites": pa.schema(
        [
            ("site", pa.int16()),  # number in forward order; key of the other tables
            ("component", pa.string()),
            ("layer", pa.int16()),  # null: exists once in a model
            ("status", pa.string()),  # "measured" or "not applicable" (then the rest is null)
            ("reason", pa.string()),  # why it is not applicable
            ("dtype", pa.string()),  # of the tensor: bfloat16, float16, float32
            ("rounded", pa.bool_()),  # the histogram is of values rounded to bfloat16
            ("channels", pa.int32()),
            ("tokens", pa.int64()),  # inside routed experts: pairs of token and expert
            ("count", pa.int64()),  # elements, finite or not
            ("nan", pa.int64()),
            ("positive_infinity", pa.int64()),
            ("negative_infinity", pa.int64()),
            ("nonfinite_sample", pa.int32()),  # first place of a NaN or infinity; null if there is none
            ("nonfinite_position", pa.int32()),
            ("nonfinite_channel", pa.int32()),
            # over finite values; null where there is none
            ("max", pa.float64()),
            ("min", pa.float64()),
            ("mean", pa.float64()),
            ("std", pa.float64()),  # population
            ("abs_mean", pa.float64()),
            ("rms", pa.float64()),
            ("abs_median", pa.float64()),  # smallest |x| with CDF >= 0.5
            *((f"quantile_{q}", pa.float64()) for q in QUANTILES),
            ("peak", pa.float64()),  # largest |x|
            ("peak_signed", pa.float64()),  # the value at its first place
            ("peak_sample", pa.int32()),
            ("peak_position", pa.int32()),
            ("peak_channel", pa.int32()),
            ("peak_expert", pa.int32()),  # null outside routed experts
            # massive-activation test per token (|x| > 100 and |x| > 1000 x the token's lower median of |x|)
            ("massive_tokens", pa.int64()),  # tokens with at least one finite value
            ("massive_tokens_passed", pa.int64()),
            ("massive_max_ratio", pa.float64()),  # largest |x| / median over tokens; infinite where a median is 0
            ("massive_max_ratio_sample", pa.int32()),
            ("massive_max_ratio_position", pa.int32()),
            ("massive_max_ratio_abs", pa.float64()),  # the |x| and the median of that token
            ("massive_max_ratio_median", pa.float64()),
            ("massive_mean_ratio", pa.float64()),  # over tokens whose median is not 0
            ("massive_std_ratio", pa.float64()),  # population
            ("massive_zero_median_tokens", pa.int64()),
            ("massive_peak_ratio", pa.float64()),  # at the token of the peak
            ("massive_peak_median", pa.float64()),
            # the same test against the median of the whole site (Sun et al. 2024): elements that pass
            ("massive_elements_by_site_median", pa.int64()),
        ]
    ),
    "histograms": pa.schema([("site", pa.int16()), ("split", pa.int8()), ("code", pa.uint16()), ("count", pa.int64())]),
    "samples": pa.schema(
        [
            ("site", pa.int16()),
            ("sample", pa.int32()),
            ("max", pa.float32()),  # null where the sample has no finite value at the site
            ("max_position", pa.int32()),
            ("max_channel", pa.int32()),
            ("min", pa.float32()),
            ("min_position", pa.int32()),
            ("min_channel", pa.int32()),
        ]
    ),
    "channels": pa.schema(
        [
            ("site", pa.int16()),
            ("channel", pa.int32()),
            ("abs_max", pa.float32()),  # null where the channel has no finite value
            ("abs_max_calibration", pa.float32()),
        ]
    ),
    "top": pa.schema(
        [
            ("site", pa.int16()),
            ("rank", pa.int16()),  # 0 is the largest |x|; ties in order of place
            ("value", pa.float32()),  # signed
            *_PLACE,
            ("expert", pa.int32()),  # null outside routed experts
            ("token_id", pa.int32()),
            ("token", pa.string()),  # text of the token; null where no tokenizer is known
            ("token_rank", pa.int16()),  # rank of the (sample, position) among those in the table
            ("rank_in_token", pa.int16()),  # rank within that (sample, position)
        ]
    ),
    "classes": pa.schema(
        [
            ("site", pa.int16()),
            ("token_class", pa.string()),
            ("tokens", pa.int64()),
            ("abs_max", pa.float32()),  # null where the class has no finite value
            ("signed", pa.float32()),
            *_PLACE,
        ]
    ),
    "experts": pa.schema(
        [
            ("layer", pa.int16()),
            ("expert", pa.int32()),
            ("component", pa.string()),  # null where no component inside the experts is measured
            ("tokens", pa.int64()),  # that chose the expert
            ("abs_max", pa.float32()),
            ("signed", pa.float32()),
            *_PLACE,
        ]
    ),
}


@dataclass(frozen=True)
class Measurement:
    """The tables of one checkpoint, as pandas data frames with the columns of `SCHEMAS`."""

    sites: pd.DataFrame
    histograms: pd.DataFrame
    samples: pd.DataFrame
    channels: pd.DataFrame
    top: pd.DataFrame
    classes: pd.DataFrame
    experts: pd.DataFrame

    def write(self, folder: Path) -> dict[str, Path]:
        """Write one Parquet file per table; equal tables give equal bytes. Returns object name -> file."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for table in fields(self):
            schema = SCHEMAS[table.name]
            data = pa.Table.from_pandas(getattr(self, table.name), schema=schema, preserve_index=False)
            # What pandas notes of itself (its version, its types in memory) must not change the bytes.
            data = data.replace_schema_metadata(None)
            integers = [column.name for column in schema if pa.types.is_integer(column.type)]
            floats = [column.name for column in schema if pa.types.is_floating(column.type)]
            files[f"{table.name}.parquet"] = file = folder / f"{table.name}.parquet"
            # Codes and places rise in small steps and counts are alike from code to code: delta encoding halves the
            # file. The low bytes of 16-bit values kept as float32 are zero: splitting the bytes lets zstd drop them.
            encoding = dict.fromkeys(integers, "DELTA_BINARY_PACKED") | dict.fromkeys(floats, "BYTE_STREAM_SPLIT")
            pq.write_table(
                data, file, compression="zstd", use_dictionary=False, column_encoding=encoding, row_group_size=1 << 20
            )
        return files

    @staticmethod
    def read(files: dict[str, Path]) -> Measurement:
        """The measurement whose tables `write` has written; nullable integers keep pandas' nullable types."""
        return Measurement(**{table.name: read_table(files[f"{table.name}.parquet"]) for table in fields(Measurement)})


def read_table(file: Path) -> pd.DataFrame:
    """One table of a measurement. Where it has nulls, integers and booleans have pandas' nullable types."""
    nullable = {pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    nullable |= {pa.bool_(): pd.BooleanDtype()}
    table = pq.read_table(file)
    mapper = {} if not any(column.null_count for column in table.columns) else nullable
    return table.to_pandas(types_mapper=mapper.get)
