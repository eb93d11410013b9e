"""`maxact measure`: one checkpoint, or a shard of its samples."""

from __future__ import annotations

import argparse
from pathlib import Path

from maxact.commands import told
from maxact.commands.options import Commands
from maxact.errors import UserError


def add(commands: Commands) -> None:
    parser = commands.add_parser("measure", help="measure one checkpoint: M and where it is")
    told.add_options(parser)
    parser.add_argument(
        "source", metavar="SOURCE", help="a checkpoint folder, a .gguf file, or hf:REPOSITORY[@REVISION] on the hub"
    )
    samples = parser.add_mutually_exclusive_group(required=True)
    samples.add_argument("--tokens", type=Path, metavar="FILE.jsonl", help='one {"input_ids": [...]} a line')
    samples.add_argument(
        "--text", type=Path, metavar="FILE", help='one {"text": "..."} a line; if not .jsonl, one plain text a line'
    )
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    parser.add_argument("--gpus", type=_positive, default=1, metavar="N", help="GPUs to take with cuda (default: 1)")
    parser.add_argument(
        "--batch-tokens",
        type=_positive,
        metavar="N",
        help="put samples together in passes of at most so many tokens: faster, other last bits (default: one a pass)",
    )
    parser.add_argument("--shard", metavar="K/N", help="run only every Nth sample, and save what was seen with --out")
    parser.add_argument("--out", type=Path, metavar="FILE.npz", help="where to save a shard")
    parser.set_defaults(run=run)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def run(options: argparse.Namespace) -> int:
    if (options.shard is None) != (options.out is None):
        raise UserError("measure: --shard and --out go together; give both or neither")
    if options.shard and (options.json or options.tables):
        raise UserError("measure: a shard alone has no result; give --json and --tables to `maxact merge`")
    told.check_options(options)
    if options.out and (options.out.is_dir() or not options.out.parent.is_dir()):
        raise UserError(f"--out {options.out}: no file can be there; give one in a folder that there is")
    if options.device == "cuda":
        from maxact.devices import take

        take(options.gpus)
    from maxact.shards import Shard
    from maxact.single import measure_source

    shard = Shard.parse(options.shard) if options.shard else None
    checkpoint, part = measure_source(
        options.source,
        options.tokens,
        options.text,
        options.dtype,
        options.attention,
        options.device,
        shard,
        options.batch_tokens,
        decided=bool(options.tables),
    )
    if options.out is None:
        return told.tell(checkpoint, part, options)
    part.write(options.out)
    print(f"{options.out}: {checkpoint}, {len(part.samples)} of {part.about['number of samples']} samples")
    return 0
