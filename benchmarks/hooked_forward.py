"""What measuring costs: forward passes with all hooks against bare ones, interleaved in one process.

    python benchmarks/hooked_forward.py FOLDER [--tokens 512] [--repeats 20] [--every-component]

FOLDER is a checkpoint folder. Token ids are drawn by seed. Each repeat runs one sample bare and one hooked, in turns
which comes first, and what is printed is the median of the repeats' ratios: a neighbour's load then weighs on both
alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from maxact.checkpoints.load import load_model
from maxact.measure.run import KERNELS, Sample, Watch
from maxact.sites.components import COMPONENTS, PAPER
from maxact.sites.find import decoder_of, find_sites


def main() -> None:
    """Print one line for the bare pass, one for the hooked one, and one for the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=512, help="tokens of a sample")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--kernel", choices=KERNELS, default="numba")
    parser.add_argument("--every-component", action="store_true", help="not the paper's alone")
    options = parser.parse_args()

    decoder = decoder_of(load_model(options.folder, dtype=options.dtype, attention=options.attention))
    watch = Watch(find_sites(decoder, list(COMPONENTS if options.every_component else PAPER)), options.kernel)
    generator = torch.Generator().manual_seed(0)

    def bare(sample: Sample) -> float:
        ids = torch.tensor([sample.token_ids])
        started = time.perf_counter()
        decoder(input_ids=ids, use_cache=False)
        return time.perf_counter() - started

    def hooked(sample: Sample) -> float:
        with watch:
            started = time.perf_counter()
            watch.begin(sample)
            decoder(input_ids=torch.tensor([sample.token_ids]), use_cache=False)
            watch.end()
            return time.perf_counter() - started

    seconds: dict[str, list[float]] = {"bare": [], "hooked": []}
    with torch.inference_mode():
        for number in range(options.repeats + 2):
            ids = torch.randint(0, decoder.config.vocab_size, (options.tokens,), generator=generator)
            sample = Sample(number, "rest", tuple(ids.tolist()))
            order = [bare, hooked] if number % 2 else [hooked, bare]
            taken = {run.__name__: run(sample) for run in order}
            if number >= 2:  # the first two compile and warm up
                for name, value in taken.items():
                    seconds[name].append(value)
    for name, values in seconds.items():
        print(f"{name:7} {1000 * statistics.median(values):7.1f} ms a pass (median)")
    ratios = [hot / cold for hot, cold in zip(seconds["hooked"], seconds["bare"], strict=True)]
    sites = sum(site.place is not None for site in watch.sites)
    print(
        f"ratio   {statistics.median(ratios):7.3f} ({min(ratios):.3f} to {max(ratios):.3f}): {sites} sites, "
        f"{options.tokens} tokens, {options.repeats} repeats, {torch.get_num_threads()} threads, {options.kernel}"
    )


if __name__ == "__main__":
    main()
