"""The stage `corpus`: the samples of a study as one table."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq

from maxact.corpus.registry import RECIPES
from maxact.store.job import Job, Product
from maxact.tokenizers.opened import open_tokenizer

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("domain", pa.string()),
        ("language", pa.string()),
        ("script", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("length_bucket", pa.int32()),
        ("text", pa.string()),
    ]
)


def compute(job: Job) -> Product:
    """samples.parquet, in the order in which samples are numbered from here on."""
    asked = job.parameters
    tokenizer = open_tokenizer(job.path("tokenizer", "tokenizer.json"))
    samples, shortfall = importlib.import_module(RECIPES[asked["recipe"]].module).samples_of(asked, tokenizer)
    for domain, count in shortfall.items():
        print(
            f"warning: corpus: {count} samples of {domain} could not be found; {asked['fill']} fills them",
            file=sys.stderr,
        )
    file = job.scratch / "samples.parquet"
    pq.write_table(
        pa.Table.from_pylist([asdict(sample) for sample in samples], schema=SCHEMA), file, compression="zstd"
    )
    domains = Counter(sample.domain for sample in samples)
    return Product(
        files={file.name: file},
        summary={
            "samples": len(samples),
            "tokens": sum(sample.length_bucket for sample in samples),
            "domains": dict(domains),
            "scripts": len({sample.script for sample in samples}),
            "languages": len({sample.language for sample in samples}),
            **({"shortfall": shortfall, "filled_from": asked["fill"]} if shortfall else {}),
        },
    )
