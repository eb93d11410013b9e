"""The fields of the result files that the paper's authors published, as their numbers show them to be defined.

From whole tensors in float64, by torch: `*_activation_stats.json` (each site) and `*_top5_stats.json` (each site, and all of
them together). What these definitions rest on is in docs/authors-fields.md.
"""

from __future__ import annotations

from typing import Any

import torch

QUANTILES = {"abs_q25": 0.25, "abs_median": 0.5, "abs_q75": 0.75, "abs_q90": 0.9, "abs_q99": 0.99, "abs_q999": 0.999}
"""Theirs are read off a histogram; here they are the smallest |x| with CDF >= q."""

T_VALUE, T_RATIO = 100.0, 1000.0


def activation_stats(samples: list[torch.Tensor]) -> dict[str, Any]:
    """The 27 fields of a site; `samples` are [tokens, channels], without padding."""
    x_TC = torch.cat(samples).double()
    size_TC = x_TC.abs()
    largest_T, median_T = size_TC.amax(dim=1), size_TC.median(dim=1).values
    ratio_T = largest_T / median_T
    first = int((ratio_T == ratio_T.max()).nonzero()[0])
    peak = int((largest_T == largest_T.max()).nonzero()[0])
    ordered = size_TC.flatten().sort().values
    found: dict[str, Any] = {
        "mean": x_TC.mean().item(),
        "std": x_TC.std(correction=0).item(),
        "abs_mean": size_TC.mean().item(),
        "rms": x_TC.square().mean().sqrt().item(),
        "max": x_TC.max().item(),
        "min": x_TC.min().item(),
        "count": x_TC.numel(),
        "sun_peak_abs": largest_T[peak].item(),
        "sun_peak_token_median": median_T[peak].item(),
        "sun_peak_token_ratio": ratio_T[peak].item(),
        "sun_max_ratio": ratio_T[first].item(),
        "sun_max_ratio_abs": largest_T[first].item(),
        "sun_max_ratio_median": median_T[first].item(),
        "sun_mean_ratio": ratio_T.mean().item(),
        "sun_std_ratio": ratio_T.std(correction=0).item(),
        "sun_n_tokens": len(x_TC),
        "sun_n_pass": int(((largest_T > T_VALUE) & (ratio_T > T_RATIO)).sum()),
        "sun_t_val": T_VALUE,
        "sun_t_ratio": T_RATIO,
        "abs_hist_count": x_TC.numel(),
        "abs_hist_zero_frac": (x_TC == 0).double().mean().item(),
    }
    for name, q in QUANTILES.items():
        cumulative = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
        found[name] = ordered[int((cumulative >= q).nonzero()[0])].item()
    return found


def top5_stats(samples: list[torch.Tensor], k: int = 100) -> dict[str, Any]:
    """The fields of a site: of its k elements of largest |x| the mean, and the first five of them."""
    values = torch.cat(samples).double().flatten()
    top = values[values.abs().sort(descending=True, stable=True).indices[:k]]
    return {
        "top_k": k,
        "topk_abs_mean": top.abs().mean().item(),
        "topk_signed_mean": top.mean().item(),
        "top5_abs": top[:5].abs().tolist(),
        "top5_signed": top[:5].tolist(),
        "top5_abs_mean": top[:5].abs().mean().item(),
        "top5_signed_mean": top[:5].mean().item(),
    }


def global_top5_abs(sites: list[list[torch.Tensor]], k: int = 100) -> list[float]:
    """The k largest |x| of the first five of every site, largest first (`global_top5_abs` has 100, whatever its name says)."""
    first = [value for samples in sites for value in top5_stats(samples)["top5_abs"]]
    return sorted(first, reverse=True)[:k]
