"""What the authors' result files hold, as plain frozen records, with their own names for sites and statistics.

Their code says what each number is: `analyze_model.py` (a checkpoint's statistics, its largest values, and the same of a
subset of the samples), `quant_sanity_check.py` (errors of an integer format). Nothing is converted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "left out"]
"""`error`: what the field would have told cannot be used. `warning`: it is kept as written, and contradicts something.
`left out`: it can be read and enters nothing, as a site beyond the decoder's layers."""


@dataclass(frozen=True)
class Problem:
    """A fault of a file, on one line."""

    file: str
    """Relative to the folder that was read."""
    field: str
    """The key in the file, as `per_layer_stats.layer_3_hidden.max`; empty where the file as a whole is meant."""
    what: str
    severity: Severity

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.field, self.what) if part)


@dataclass(frozen=True)
class TopOfSite:
    """The elements of largest |x| of a site, signed, the largest first."""

    values: tuple[float, ...]
    """All that the file has: five, or `k` of them."""
    k: int
    abs_mean: float | None
    """Mean |x| of the first `k`."""


@dataclass(frozen=True)
class Top:
    """A `*_top5_stats.json`."""

    file: str
    sites: Mapping[str, TopOfSite]
    global_abs: tuple[float, ...]
    """Largest |x| over all sites, out of the first five of each."""
    global_signed: tuple[float, ...]


EVERYWHERE = ""
"""In the place of a site: all that M ranges over."""


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A `*_activation_stats.json`, with the `*_top5_stats.json` of the same model."""

    name: str
    """As the file says (`model_name`)."""
    series: str
    """The folder that it lies in."""
    model_type: str
    layers: int
    hidden_size: int
    samples: int
    max_sequence_length: int | None
    data_path: str
    global_maximum: float | None
    """Signed, as written."""
    global_maximum_location: str
    """As written: `layer_16_hidden (max)`."""
    sites: Mapping[str, Mapping[str, float]]
    """Statistics by site, both by the authors' names, in order of the file. What is missing or not finite is no key."""
    top: Top | None
    file: str
    doubts: Mapping[str, float]
    """By site: what other numbers of the files tell of its largest |x|, where max and min tell another."""


@dataclass(frozen=True)
class QuantRun:
    """A `quant/*_quant_sanity.json`: errors of one integer format at some sites of one checkpoint."""

    name: str
    family: str
    role: str
    bits: int
    clip_quantile: float
    calibration_samples: int
    evaluation_samples: int
    max_sequence_length: int | None
    selected_layers: tuple[str, ...]
    reference_maximum: float | None
    """|M| of the checkpoint's own file when this one was written."""
    reference_location: str
    thresholds: Mapping[str, Mapping[str, float]]
    """By policy, by site."""
    metrics: tuple[Mapping[str, Any], ...]
    """A mapping for each site and policy: layer, policy, count, mae, rmse, rel_mae, rel_rmse, sqnr_db, clip_rate."""
    file: str


@dataclass(frozen=True)
class BootstrapRun:
    """The statistics of one checkpoint on a random subset of the samples."""

    name: str
    size: int
    """Samples that were drawn."""
    repetition: int
    statistics: PublishedCheckpoint


@dataclass(frozen=True)
class Published:
    """Everything in a folder of the authors' result files."""

    checkpoints: tuple[PublishedCheckpoint, ...]
    """Sorted by series and name; no name twice."""
    quant: tuple[QuantRun, ...]
    quant_summary: tuple[Mapping[str, Any], ...]
    """Rows of `quant/quant_sanity_summary.json`: means over sites by checkpoint and policy."""
    bootstrap: tuple[BootstrapRun, ...]
    """Sorted by name, size and repetition."""
    problems: tuple[Problem, ...]

    def checkpoint(self, name: str) -> PublishedCheckpoint:
        """The checkpoint of that name.

        Raises:
            KeyError: there is none.
        """
        return {found.name: found for found in self.checkpoints}[name]


def tokens_of(checkpoint: PublishedCheckpoint) -> int | None:
    """How many tokens most of its sites have seen."""
    seen = Counter(values["sun_n_tokens"] for values in checkpoint.sites.values() if "sun_n_tokens" in values)
    return int(seen.most_common(1)[0][0]) if seen else None
