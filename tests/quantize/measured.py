"""Measurement tables of given tensors, counted by numpy, and the comparison with the oracle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from oracles.quantize import quantization_errors
from torch import Tensor

from maxact.measurement import SCHEMAS
from maxact.quantize.stage import SCHEMA, site_errors, sixteen_bits, splits_of

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
            codes = [
                x.contiguous().view(torch.int16).numpy().view(np.uint16)[torch.isfinite(x).numpy()] for x in tensors
            ]
            code, count = np.unique(np.concatenate([np.array([], np.uint16), *codes]), return_counts=True)
            parts.append(pd.DataFrame({"site": number, "split": split, "code": code, "count": count}))
    frame = pd.DataFrame(rows, columns=SCHEMAS["sites"].names).assign(rounded=False)
    return frame.astype({"layer": "Int16"}), pd.concat(parts, ignore_index=True)


def errors_of(
    sites: pd.DataFrame, histograms: pd.DataFrame, formats: Sequence[str], policies: Sequence[str]
) -> pd.DataFrame:
    """The table of errors, as a data frame."""
    found = site_errors(sixteen_bits(sites), splits_of(histograms), formats, policies)
    return pd.DataFrame(found, columns=SCHEMA.names)


def outputs_of(model: torch.nn.Module, names: list[str], samples: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """What the named modules return for each row of token ids, caught by plain hooks; one not called is left out."""
    caught: dict[str, list[torch.Tensor]] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            x = output[0] if isinstance(output, tuple) else output
            caught.setdefault(name, []).append(x.detach().clone())

        return keep

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    with torch.inference_mode():
        for token_ids in samples:
            model(input_ids=token_ids[None])
    for handle in handles:
        handle.remove()
    return caught


def assert_rows_agree(row: Mapping[str, Any], calibration: Sequence[Tensor], evaluation: Sequence[Tensor]) -> None:
    """One row of the table equals the oracle; errors up to the rounding of float64 sums."""
    expected = quantization_errors(calibration, evaluation, row["policy"], row["format"])
    assert row["elements"] == expected["elements"]
    for name in ("threshold", *ERRORS):
        value = expected[name]
        if value is None:
            assert math.isnan(row[name]), (name, row)
            continue
        close = 0 if name in ("threshold", "clip_rate") else 1e-12
        # A ratio near 1 is near 0 in dB.
        same = math.isclose(row[name], value, rel_tol=close, abs_tol=1e-11 if name == "sqnr_db" else 0)
        assert same, (name, row, expected)


def assert_same_as_direct(splits: Splits, policies: Sequence[str], format: str = "int8") -> pd.DataFrame:
    """Every row of the table of one site agrees with its tensors."""
    found = errors_of(*tables({("residual", 0): splits}), [format], policies)
    assert list(found.policy) == list(policies)
    for row in found.to_dict("records"):
        assert_rows_agree(
            {str(name): value for name, value in row.items()}, splits["calibration"], splits["evaluation"]
        )
    return found
