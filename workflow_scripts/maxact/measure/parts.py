"""The states of all sites in a file: what a measurement has seen so far, or one of its shards.

An uncompressed `.npz` without pickles: a JSON text `about` (which measurement this is a part of, and the samples that are
in it), and the numbers of each site as arrays `<site>/<name>`. What is read equals what was written, so that a measurement
that goes on after an interruption ends in the same tables as one that was never interrupted.
"""

from __future__ import annotations

import json
import os
import zipfile
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maxact.errors import UserError
from maxact.measure.massive import Massive, Ratio
from maxact.measure.rows import Integers
from maxact.measure.state import Peak, SiteState

Arrays = dict[str, npt.NDArray[Any]]

_NO_PEAK = (-1,) * 7


@dataclass
class Part:
    """Part of a measurement.

    Attributes:
        about: JSON values that decide the measurement: parts of different ones do not go together.
        samples: numbers of the samples that are in it.
        states: by site number.
        expert_tokens: by layer, how many tokens chose each expert.
        vocabulary: text by token id, where it is to go along.
    """

    about: Mapping[str, Any]
    samples: list[int]
    states: dict[int, SiteState]
    expert_tokens: dict[int, Integers]
    vocabulary: Mapping[int, str] | None = None

    def merge(self, other: Part) -> None:
        """Add another part of the same measurement.

        Raises:
            UserError: it is of another measurement, or has samples that are in this one already.
        """
        for name in sorted({*self.about, *other.about}):
            mine, theirs = (str(about.get(name)) for about in (self.about, other.about))
            if mine != theirs:
                told = f": {mine} and {theirs}" if len(mine + theirs) < 200 else ""
                raise UserError(f"shards differ in {name}{told}; measure them with the same settings")
        twice = sorted({*self.samples} & {*other.samples})
        if twice:
            raise UserError(
                f"shards: sample {twice[0]} is in two of them ({len(twice)} such samples); give each shard once"
            )
        self.samples = sorted([*self.samples, *other.samples])
        for number, state in other.states.items():
            if number in self.states:
                self.states[number].merge(state)
            else:
                self.states[number] = state
        for layer, tokens in other.expert_tokens.items():
            self.expert_tokens[layer] = tokens + self.expert_tokens.get(layer, 0)
        if other.vocabulary is not None:
            self.vocabulary = {**(self.vocabulary or {}), **other.vocabulary}

    def write(self, file: Path) -> None:
        """Write the file anew; it is whole or as it was before."""
        told: dict[str, Any] = {"about": self.about, "samples": self.samples}
        told |= {"vocabulary": None if self.vocabulary is None else list(self.vocabulary.items())}
        about = json.dumps(told).encode()
        arrays: Arrays = {"about": np.frombuffer(about, np.uint8)}
        for number, state in self.states.items():
            arrays |= {f"{number}/{name}": values for name, values in _arrays(state).items()}
        arrays |= {f"experts/{layer}": tokens for layer, tokens in self.expert_tokens.items()}
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


def read_part(file: Path) -> Part:
    """The part in a file.

    Raises:
        UserError: it is no such file, or damaged.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            told = json.loads(arrays["about"].tobytes())
            sites: dict[int, Arrays] = {}
            experts: dict[int, Integers] = {}
            for key in arrays.files:
                owner, _, name = key.partition("/")
                if owner == "experts":
                    experts[int(name)] = arrays[key]
                elif name:
                    sites.setdefault(int(owner), {})[name] = arrays[key]
        states = {number: _state(values) for number, values in sorted(sites.items())}
        vocabulary = None if told["vocabulary"] is None else dict(told["vocabulary"])
        return Part(told["about"], told["samples"], states, experts, vocabulary)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; give what `maxact measure --shard` has written") from None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{file}: not a whole shard of a measurement ({reason}); measure it again") from None


def _arrays(state: SiteState) -> Arrays:
    split, code = np.nonzero(state.counts)
    massive = state.massive
    return {
        "dtype": np.array(state.dtype),
        "numbers": np.array(
            [state.channels, state.rows, massive.rows, massive.passed, massive.zero_medians, *state.nonfinite]
        ),
        "split": split.astype(np.uint8),
        "code": code.astype(np.uint16),
        "count": state.counts[split, code],
        "channel_max": np.stack([state.channel_max_C, state.channel_max_calibration_C]),
        "extremes": np.array(state.extremes, np.int32),
        "top": state.top,
        "peak": _peaks([state.peak]),
        "class_tokens": state.class_tokens,
        "class_peaks": _peaks(state.class_peaks),
        "experts": np.array(list(state.expert_peaks), np.int64),
        "expert_peaks": _peaks(list(state.expert_peaks.values())),
        "nonfinite_place": np.array(state.nonfinite_place or (), np.int64),
        "ratio": np.array([] if massive.ratio is None else [*massive.ratio.place, *massive.ratio[2:]], np.int64),
        "ratio_value": np.array([] if massive.ratio is None else [massive.ratio.value], np.float64),
        "sums": np.stack([massive.sums, massive.square_sums]),
    }


def _state(arrays: Arrays) -> SiteState:
    channels, rows, *massive, nan, positive, negative = arrays["numbers"].tolist()
    state = SiteState(str(arrays["dtype"]), channels, rows=rows)
    state.counts[arrays["split"], arrays["code"]] = arrays["count"]
    state.channel_max_C, state.channel_max_calibration_C = arrays["channel_max"]
    state.extremes = array("i", arrays["extremes"].tobytes())
    state.top = arrays["top"]
    (state.peak,) = _read_peaks(arrays["peak"])
    state.class_tokens = arrays["class_tokens"]
    state.class_peaks = _read_peaks(arrays["class_peaks"])
    state.expert_peaks = {
        expert: peak
        for expert, peak in zip(arrays["experts"].tolist(), _read_peaks(arrays["expert_peaks"]), strict=True)
        if peak is not None
    }
    state.nonfinite = (nan, positive, negative)
    if len(arrays["nonfinite_place"]):
        sample, position, expert, channel = arrays["nonfinite_place"].tolist()
        state.nonfinite_place = (sample, position, expert, channel)
    ratio = None
    if len(arrays["ratio"]):
        sample, position, expert, key, median = arrays["ratio"].tolist()
        ratio = Ratio(float(arrays["ratio_value"][0]), (sample, position, expert), key, median)
    sums, square_sums = arrays["sums"]
    seen, passed, zero_medians = massive
    state.massive = Massive(seen, passed, zero_medians, ratio, sums, square_sums)
    return state


def _peaks(peaks: list[Peak | None]) -> Integers:
    rows = [_NO_PEAK if peak is None else (peak.key, *peak.place, peak.signed_key, peak.median_key) for peak in peaks]
    return np.array(rows, np.int64).reshape(-1, 7)


def _read_peaks(rows: Integers) -> list[Peak | None]:
    return [None if row[0] < 0 else Peak(row[0], tuple(row[1:5]), *row[5:]) for row in rows.tolist()]
