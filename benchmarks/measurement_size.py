"""How large a measurement is on disk: a checkpoint of the shape of Qwen2.5-32B and the paper's 5,000 samples.

    python benchmarks/measurement_size.py [--samples 5000] [--tokens 4096] [--every-component]

Nothing is measured: the sites are those of the architecture, and their statistics are drawn at random by seed, as if every
channel had a normal distribution of its own width. Places of extremes are drawn evenly, which no file format can make small.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from transformers import AutoModelForCausalLM, Qwen2Config

from maxact.histogram import code_values, finite_codes
from maxact.measure.massive import Massive
from maxact.measure.state import TOP_COLUMNS, Peak, SiteState
from maxact.measure.tables import tables
from maxact.measurement import TOKEN_CLASSES, TOP
from maxact.sites.components import COMPONENTS, PAPER
from maxact.sites.find import Site, find_sites

LAYERS, HIDDEN, INTERMEDIATE, KEY_VALUE = 64, 5120, 27648, 1024
WIDTHS = {"gate": INTERMEDIATE, "down_input": INTERMEDIATE, "key": KEY_VALUE, "value": KEY_VALUE}
SHARES = (128 / 5000, 256 / 5000, 1 - 384 / 5000)
"""Of the samples: calibration, evaluation, rest."""


def sites_of(components: list[str]) -> list[Site]:
    """Of a narrow model with as many layers."""
    config = Qwen2Config(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=LAYERS, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    return find_sites(AutoModelForCausalLM.from_config(config).get_decoder(), components)


def drawn(rng: np.random.Generator, site: Site, samples: int, tokens: int) -> SiteState:
    """The statistics of one site."""
    channels = WIDTHS.get(site.component, HIDDEN)
    state = SiteState("bfloat16", channels, rows=samples * tokens)
    values = code_values("bfloat16")
    magnitudes = np.where(finite_codes("bfloat16"), np.abs(values), 0)
    widths = np.exp(rng.normal(0, 1.5, 64))
    # The density of each code: its spacing, a 128th of its power of two, times that of the normal distributions there.
    spacing = np.exp2(np.floor(np.log2(np.maximum(magnitudes, 1e-38)))) / 128
    shares = sum(spacing / width * np.exp(-((magnitudes / width) ** 2) / 2) for width in widths)
    shares = np.where(finite_codes("bfloat16"), shares, 0)
    shares = shares / shares.sum()
    for split, share in enumerate(SHARES):
        state.counts[split] = rng.poisson(shares * share * samples * tokens * channels)
    keys = rng.integers(0x4000, 0x4300, (samples, 2))
    places = rng.integers(0, (tokens, channels), (2, samples, 2))
    largest, smallest = (np.column_stack([sign * keys[:, at], places[at]]) for at, sign in enumerate((1, -1)))
    state.extremes.extend(np.column_stack([np.arange(samples), largest, smallest]).ravel().tolist())
    state.channel_max_C[:] = rng.integers(0x4000, 0x4300, channels)
    state.channel_max_calibration_C[:] = rng.integers(0x4000, 0x4300, channels)
    state.top = np.zeros((TOP, len(TOP_COLUMNS)), np.int64)
    state.top[:, 0] = state.top[:, 5] = np.sort(rng.integers(0x4200, 0x4300, TOP))[::-1]
    state.top[:, 1:5] = rng.integers(0, (samples, tokens, 1, channels), (TOP, 4))
    state.top[:, 3], state.top[:, 6] = -1, rng.integers(0, 150_000, TOP)
    state.class_tokens[:] = rng.multinomial(samples * tokens, np.full(len(TOKEN_CLASSES), 1 / len(TOKEN_CLASSES)))
    place = (int(state.top[0, 1]), int(state.top[0, 2]), -1, int(state.top[0, 4]))
    state.peak = Peak(int(state.top[0, 0]), place, int(state.top[0, 5]), 0x3F80)
    state.class_peaks = [state.peak] * len(TOKEN_CLASSES)
    state.massive = Massive(rows=samples * tokens)
    return state


def main() -> None:
    """Print one line a table, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--tokens", type=int, default=4096, help="of a sample")
    parser.add_argument("--every-component", action="store_true", help="not the paper's alone")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    sites = sites_of(list(COMPONENTS) if options.every_component else list(PAPER))
    states = {site.number: drawn(rng, site, options.samples, options.tokens) for site in sites if site.place}
    vocabulary = {token: f" token{token}" for token in range(150_000)}
    with tempfile.TemporaryDirectory() as folder:
        files = tables(sites, states, vocabulary).write(Path(folder))
        sizes = {name: file.stat().st_size / 1e6 for name, file in files.items()}
    for name, size in sizes.items():
        print(f"{name:20} {size:7.1f} MB")
    print(f"{'all':20} {sum(sizes.values()):7.1f} MB, {len(states)} sites, {options.samples} samples")


if __name__ == "__main__":
    main()
