"""Measurement tables of given tensors, counted by numpy, and the comparison with the oracle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from oracles.quantize import quantization_errors
from torch import Tensor

from maxact.measurement import SCHEMAS
from maxact.quantize.site_errors import site_errors

Splits = Mapping[str, Sequence[Tensor]]
"""Tensors of one site by the name of their split."""

ERRORS = ("mae", "rmse", "relative_mae", "relative_rmse", "sqnr_db", "clip_rate")


def tables(sites: Mapping[tuple[str, int | None], Splits]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`sites` and `histograms` of (component, layer) -> tensors, with what the quantizer reads of them."""
    rows, parts = [], []
    for number, ((component, layer), splits) in enumerate(sites.items()):
        dtype = str(next(iter(splits.values()))[0].dtype).removeprefix("torch.")
        rows.append({"site": number, "component": component, "layer": layer, "status": "measured", "dtype": dtype})
        for split, name in enumerate(("calibration", "evaluation", "rest")):
            tensors = splits.get(name, [])
            codes = [x.contiguous().view(torch.int16).numpy().view(np.uint16)[torch.isfinite(x).numpy()] for x in tensors]
            code, count = np.unique(np.concatenate([np.array([], np.uint16), *codes]), return_counts=True)
            parts.append(pd.DataFrame({"site": number, "split": split, "code": code, "count": count}))
    frame = pd.DataFrame(rows, columns=SCHEMAS["sites"].names).assign(rounded=False)
    return frame.astype({"layer": "Int16"}), pd.concat(parts, ignore_index=True)


def assert_same_as_direct(splits: Splits, policies: Sequence[str], bits: int = 8) -> pd.DataFrame:
    """The table of one site equals the oracle; errors up to the rounding of float64 sums."""
    found = site_errors(*tables({("residual", 0): splits}), bits, policies)
    assert list(found.policy) == list(policies)
    for row in found.to_dict("records"):
        expected = quantization_errors(splits["calibration"], splits["evaluation"], row["policy"], bits)
        assert row["elements"] == expected["elements"]
        for name in ("threshold", *ERRORS):
            value = expected[name]
            if value is None:
                assert math.isnan(row[name]), (name, row)
            else:
                tolerance = 0 if name in ("threshold", "clip_rate") else 1e-12
                assert math.isclose(row[name], value, rel_tol=tolerance, abs_tol=tolerance * (name == "sqnr_db")), (
                    name, row, expected,
                )  # fmt: skip
    return found
