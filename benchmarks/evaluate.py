"""What evaluating costs: the forward passes of the stage `evaluate` against bare ones, interleaved in one process.

    python benchmarks/evaluate.py FOLDER [--tokens 256] [--repeats 10] [--every-component]

FOLDER is a checkpoint folder. Token ids are drawn by seed; the first sample is measured, for the scales that come from
calibration. Each repeat runs one sample bare and one evaluated, in turns which comes first, and what is printed is the
median of the repeats' ratios: a neighbour's load then weighs on both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from maxact.checkpoints.load import load_model
from maxact.measure.run import Sample, measure
from maxact.quantize.evaluate import begun
from maxact.quantize.evaluation import Evaluation
from maxact.quantize.ways import GRANULARITIES, ways
from maxact.sites.components import COMPONENTS, PAPER
from maxact.sites.find import decoder_of, find_sites

FORMATS = ("int8", "fp8_e4m3", "mxfp4", "nvfp4")


def main() -> None:
    """Print one line for the bare pass, one for the evaluated one, and one for the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=256, help="tokens of a sample")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--every-component", action="store_true", help="not the paper's alone")
    options = parser.parse_args()

    model = load_model(options.folder, dtype="bfloat16", attention="sdpa")
    decoder, components = decoder_of(model), list(COMPONENTS if options.every_component else PAPER)
    generator = torch.Generator().manual_seed(0)
    size = (options.repeats + 3, options.tokens)
    samples = [
        Sample(number, "calibration", tuple(ids))
        for number, ids in enumerate(torch.randint(0, decoder.config.vocab_size, size, generator=generator).tolist())
    ]
    found, wanted = measure(model, samples[:1], components), ways(options.formats, GRANULARITIES)
    seen = begun(find_sites(decoder, components), found.sites, found.channels, wanted, [1, 8])
    evaluation = Evaluation(seen, wanted, "cpu")

    def bare(sample: Sample) -> float:
        started = time.perf_counter()
        decoder(input_ids=torch.tensor([sample.token_ids]), use_cache=False)
        return time.perf_counter() - started

    def evaluated(sample: Sample) -> float:
        with evaluation:
            started = time.perf_counter()
            evaluation.begin(sample)
            decoder(input_ids=torch.tensor([sample.token_ids]), use_cache=False)
            evaluation.end()
            return time.perf_counter() - started

    seconds: dict[str, list[float]] = {"bare": [], "evaluated": []}
    with torch.inference_mode():
        for sample in samples[1:]:
            order = [bare, evaluated] if sample.sample % 2 else [evaluated, bare]
            taken = {run.__name__: run(sample) for run in order}
            if sample.sample > 2:  # the first two compile and warm up
                for name, value in taken.items():
                    seconds[name].append(value)
    for name, values in seconds.items():
        print(f"{name:9} {1000 * statistics.median(values):7.1f} ms a pass (median)")
    ratios = [hot / cold for hot, cold in zip(seconds["evaluated"], seconds["bare"], strict=True)]
    print(
        f"ratio     {statistics.median(ratios):7.3f} ({min(ratios):.3f} to {max(ratios):.3f}): {len(seen)} sites, "
        f"{len(wanted)} formats and granularities, {options.tokens} tokens, {options.repeats} repeats, "
        f"{torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
