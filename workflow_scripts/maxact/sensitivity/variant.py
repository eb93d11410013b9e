"""The stage `variant`: some samples of the corpus through one checkpoint, with settings of their own."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from maxact.checkpoints.load import gpu_names, load_model
from maxact.errors import PolicyError
from maxact.measure.headline import headline
from maxact.measure.run import Sample, observe
from maxact.sites.find import decoder_of
from maxact.store.job import Job, Product
from maxact.tokens import encode, split, token_texts


def compute(job: Job) -> Product:
    """The tables of a measurement, all samples in the split `rest`, with the numbers that they have in the corpus.

    Where the tokenizer cannot do what is asked for, there are no tables and the summary says why (`not_applicable`).
    """
    asked = job.parameters
    tokenizer = job.path("tokenizer", "tokenizer.json")
    rows = pq.read_table(job.path("corpus", "samples.parquet"), columns=["id", "domain", "text"]).to_pylist()
    chosen = choose(rows, asked["samples"], asked["seed"])
    try:
        ids = encode([rows[number]["text"] for number in chosen], asked["special_tokens"], job.folder("tokenizer"))
    except PolicyError as error:
        return Product({}, {"not_applicable": str(error)})
    samples = [
        Sample(number, "rest", tuple(tokens[: asked["length"]])) for number, tokens in zip(chosen, ids, strict=True)
    ]
    model = load_model(
        job.folder("checkpoint"),
        dtype=asked["dtype"],
        attention=asked["attention"],
        expected_model_type=asked["model_type"],
        device=asked.get("device", "cpu"),
    )
    vocabulary = token_texts(tokenizer, {token for sample in samples for token in sample.token_ids})
    observed = observe(
        model,
        samples,
        asked["components"],
        vocabulary,
        title=job.name,
        batch_tokens=asked.get("batch_tokens"),
        unfinished=None if job.unfinished is None else job.unfinished / "part.npz",
    )
    found = observed.tables(vocabulary)
    nonfinite = int(found.sites[["nan", "positive_infinity", "negative_infinity"]].sum().sum())
    told = {"attention": decoder_of(model).config._attn_implementation, "nonfinite": nonfinite}
    told |= {"samples": len(samples), "tokens": sum(len(sample.token_ids) for sample in samples)}
    return Product(
        files=found.write(job.scratch / "tables"),
        summary={**headline(found), **told, "batch_tokens": observed.part.about["batch_tokens"]},
        costs={"forward_passes": observed.passes, "tokens": told["tokens"], "gpus": gpu_names(model)},
    )


def choose(rows: list[dict[str, Any]], samples: int, seed: int) -> list[int]:
    """Numbers of so many rows, each domain its share, as the calibration split is chosen."""
    splits = split([(row["id"], row["domain"]) for row in rows], {"calibration": samples, "evaluation": 0}, seed)
    return [number for number, row in enumerate(rows) if splits[row["id"]] == "calibration"]
