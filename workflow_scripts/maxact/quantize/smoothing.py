"""SmoothQuant (Xiao et al. 2023): how each channel behind a norm is divided before it is quantized.

Equation 4: for the channels j of what a norm gives to linear layers,

    s_j = max|X_j|^alpha / max|W_j|^(1 - alpha)

X_j is channel j of what the layers are given, over the finite values of the calibration split; W_j is column j of the weights
[out, in] of all these layers together. s_j is 1 where either maximum is 0. It is computed in float64 and rounded to float32.
The model stays the same where X_j is divided by s_j (the norm's weight and bias, or 1 + weight in Gemma's norms) and W_j is
multiplied with it; (X / s)_j and (s W)_j are then what is quantized.

A site is smoothed only where nothing but linear layers takes what the norm returns: a router, experts or the residual stream
would have to be rescaled too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from maxact.checkpoints.folder import weight_files
from maxact.errors import UserError
from maxact.quantize.scales import SMALLEST
from maxact.quantize.tensors import NORMED
from maxact.quantize.weights import Maxima, Weights
from maxact.quantize.wiring import Fed, wiring

NO_NORM = "no norm with a weight gives what the linear layers are given"

Place = tuple[str, int | None]
"""Component and layer of a site."""


@dataclass(frozen=True)
class Smoothing:
    """The linear layers behind one norm, and what their input is divided by.

    Attributes:
        norm, modules: names in the checkpoint, of the norm and of the linear layers.
        x_C: max|X_j|, of the calibration split.
        w_C: max|W_j|.
        scale_C: s_j, float32 [C].
    """

    norm: str
    modules: tuple[str, ...]
    x_C: Maxima
    w_C: Maxima
    scale_C: npt.NDArray[np.float32]

    @property
    def largest_C(self) -> npt.NDArray[np.float32]:
        """The largest |X_j / s_j| of each channel on the calibration split, divided in float32 as a pass divides."""
        return self.x_C.astype(np.float32) / self.scale_C

    @property
    def largest(self) -> float:
        """The largest |X / s|: what a static scale of the tensor is for."""
        return float(self.largest_C.max())


def smoothing_scales(x_C: Maxima, w_C: Maxima, alpha: float) -> npt.NDArray[np.float32] | str:
    """s of equation 4, float32 [C], or why there is none.

    Args:
        x_C: max|X_j|; NaN where a channel had no finite value.
        w_C: max|W_j|.
        alpha: how much of the difficulty goes from the activations to the weights, 0 to 1.
    """
    for name, maxima in (("activations", x_C), ("weights", w_C)):
        wrong = np.flatnonzero(~np.isfinite(maxima))
        if len(wrong):
            return f"channel {wrong[0]} of the {name} has no finite maximum ({len(wrong)} of {len(maxima)} channels)"
    some = (x_C > 0) & (w_C > 0)
    s_C = np.ones(len(x_C))
    s_C[some] = x_C[some] ** alpha / w_C[some] ** (1 - alpha)
    with np.errstate(over="ignore", under="ignore"):
        rounded = s_C.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(rounded) | (rounded < SMALLEST))
    if len(wrong):
        return f"s of channel {wrong[0]} is no normal float32"
    return rounded


def smoothing(one: Fed, channels: int, x_C: Maxima, weights: Weights, alpha: float) -> Smoothing | str:
    """What the input of the linear layers at one site is divided by, or why it is not.

    Args:
        one: what the site feeds.
        channels: of the tensor that was measured there.
        x_C: the largest |x| of each channel on the calibration split, NaN where there is none.
    """
    reason = one.reason or other_width(channels, one) or (NO_NORM if one.norm is None else None)
    if reason is None and one.others:
        reason = f"what the norm returns also goes to {'; '.join(one.others)}"
    if reason is not None:
        return reason
    assert one.norm is not None
    w_C = weights.column_maxima(one.modules)
    found = w_C if isinstance(w_C, str) else smoothing_scales(x_C, w_C, alpha)
    if isinstance(w_C, str) or isinstance(found, str):
        return str(found)
    return Smoothing(one.norm, one.modules, x_C, w_C, found)


def smoothings(
    fed: Sequence[Fed], sites: pd.DataFrame, channels: pd.DataFrame, weights: Weights, alpha: float
) -> dict[Place, Smoothing | str]:
    """Every measured site of `NORMED`, in forward order, or why it is not smoothed; sites behind one norm have equal ones.

    Args:
        fed: what `wiring` says of the checkpoint.
        sites, channels: tables of its measurement.
    """
    rows = normed_sites(sites)
    return {
        place: smoothing(one, int(rows[place]["channels"]), calibrated_maxima(channels, rows[place]), weights, alpha)
        for one in fed
        if (place := (one.component, one.layer)) in rows
    }


def smoothings_of(
    folder: Path, sites: pd.DataFrame, channels: pd.DataFrame, alphas: Sequence[float]
) -> dict[float, dict[Place, Smoothing | str]]:
    """`smoothings` of a checkpoint by alpha; where transformers cannot build its architecture that is the reason at every site.

    Args:
        folder: has config.json and safetensors.
    """
    weights = Weights(weight_files(folder))
    try:
        fed = wiring(folder, weights.names)
    except UserError as error:
        reason = str(error).replace(f"{folder}/", "")  # where a job has its files is in no artifact
        return {alpha: dict.fromkeys(normed_sites(sites), reason) for alpha in alphas}
    return {alpha: smoothings(fed, sites, channels, weights, alpha) for alpha in alphas}


def normed_sites(sites: pd.DataFrame) -> dict[Place, Mapping[Any, Any]]:
    """The rows of the measured sites of `NORMED`, by place."""
    wanted = sites[sites["component"].isin(NORMED) & (sites["status"] == "measured")]
    return {(row["component"], layer_of(row["layer"])): row for row in wanted.to_dict("records")}


def other_width(channels: int, one: Fed) -> str | None:
    """Why a site cannot be what the linear layers are given, if it has another number of channels."""
    if one.width is None or channels == one.width:
        return None
    return f"it was measured with {channels} channels, and its linear layers are given {one.width}"


def calibrated_maxima(channels: pd.DataFrame, row: Mapping[Any, Any]) -> Maxima:
    """The largest |x| of each channel of a site on the calibration split, NaN where there is no finite one."""
    mine = channels[channels["site"] == row["site"]].sort_values("channel")
    maxima: Maxima = mine["abs_max_calibration"].to_numpy(np.float64, na_value=np.nan)
    return maxima


def layer_of(layer: Any) -> int | None:
    """The layer in a row of a table; None where a component exists once."""
    return None if pd.isna(layer) else int(layer)
