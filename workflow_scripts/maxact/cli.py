"""The command `maxact`: what does not need a study.

Imports of torch and pandas are left to the commands that need them, so that `maxact --help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maxact import __version__
from maxact.devices import take
from maxact.errors import UserError

if TYPE_CHECKING:
    from maxact.measure.parts import Part
    from maxact.store.objects import Store

NONFINITE = 3
"""Exit code of `maxact measure` when an activation was NaN or infinite: a result, but one that must be noticed."""


INTERRUPTED = 130
"""Exit code after an interrupt from the keyboard, as shells have it."""

FAULTS = 1
"""Exit code of `maxact verify` when an object is missing or damaged."""

DIFFERS = 1
"""Exit code of `maxact replay` when the sample gives other bits than those that are stored, and of `maxact compare` when two
measurements differ beyond a tolerance."""


def entry() -> None:
    """The console script."""
    sys.exit(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, 2 for a user's mistake, 3 for non-finite activations)."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maxact", description="How large activations get in open language models.")
    parser.add_argument("--version", action="version", version=f"maxact {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    told = argparse.ArgumentParser(add_help=False)
    told.add_argument("--json", action="store_true", help="print one JSON object with every site")
    told.add_argument(
        "--tables", type=Path, metavar="FOLDER", help="write the tables of the measurement there, as Parquet"
    )

    measure = commands.add_parser("measure", parents=[told], help="measure one checkpoint: M and where it is")
    measure.add_argument(
        "source", metavar="SOURCE", help="a checkpoint folder, a .gguf file, or hf:REPOSITORY[@REVISION] on the hub"
    )
    samples = measure.add_mutually_exclusive_group(required=True)
    samples.add_argument("--tokens", type=Path, metavar="FILE.jsonl", help='one {"input_ids": [...]} a line')
    samples.add_argument(
        "--text", type=Path, metavar="FILE", help='one {"text": "..."} a line; if not .jsonl, one plain text a line'
    )
    measure.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    measure.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    measure.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    measure.add_argument("--gpus", type=_positive, default=1, metavar="N", help="GPUs to take with cuda (default: 1)")
    measure.add_argument(
        "--batch-tokens",
        type=_positive,
        metavar="N",
        help="put samples together in passes of at most so many tokens: faster, other last bits (default: one a pass)",
    )
    measure.add_argument("--shard", metavar="K/N", help="run only every Nth sample, and save what was seen with --out")
    measure.add_argument("--out", type=Path, metavar="FILE.npz", help="where to save a shard")
    measure.set_defaults(run=_measure)

    merge = commands.add_parser("merge", parents=[told], help="join the shards of one measurement")
    merge.add_argument("shards", type=Path, nargs="+", metavar="FILE.npz", help="what `maxact measure --shard` saved")
    merge.set_defaults(run=_merge)

    pin = commands.add_parser(
        "pin", help="resolve what a study takes from the hub to commits and digests, in a lock file"
    )
    pin.add_argument("study", type=Path, metavar="STUDY.yaml")
    pin.add_argument("--again", action="store_true", help="resolve anew what is pinned already")
    pin.set_defaults(run=_pin)

    fetch = commands.add_parser("fetch", help="download the pinned wheels of a study, for work without a network")
    fetch.add_argument("study", type=Path, metavar="STUDY.yaml")
    fetch.set_defaults(run=_fetch)

    plan = commands.add_parser("plan", help="what the jobs of a study need: GPUs, memory, minutes, disk, and totals")
    plan.add_argument("study", type=Path, metavar="STUDY.yaml")
    plan.add_argument(
        "--store",
        type=Path,
        default=Path("artifacts"),
        help="folder of artifacts, if there is one (default: %(default)s)",
    )
    plan.add_argument("--json", action="store_true", help="print one JSON object")
    plan.set_defaults(run=_plan)

    digest = commands.add_parser("digest", help="print the SHA-256 that pins a checkpoint folder in a study")
    digest.add_argument("folder", type=Path, metavar="FOLDER")
    digest.add_argument("--code", action="store_true", help="of its Python files instead, which pins remote_code")
    digest.set_defaults(run=_digest)

    store = argparse.ArgumentParser(add_help=False)
    store.add_argument(
        "--store", type=Path, default=Path("artifacts"), help="folder of artifacts (default: %(default)s)"
    )
    verify = commands.add_parser(
        "verify", parents=[store], help="read every stored object and compare it with its digest"
    )
    verify.set_defaults(run=_verify)

    adopt = commands.add_parser(
        "adopt",
        parents=[store],
        help="accept rewritten measuring code for measurements whose probe it gives byte for byte",
    )
    adopt.add_argument("study", type=Path, metavar="STUDY.yaml")
    adopt.add_argument("--locks", type=Path, default=Path("envs"), help="folder of locked requirements (default: envs)")
    adopt.set_defaults(run=_adopt)

    replay = commands.add_parser(
        "replay", parents=[store], help="run the sample of a stored maximum again, alone, and compare the bits"
    )
    replay.add_argument("study", type=Path, metavar="STUDY.yaml")
    replay.add_argument("checkpoint", metavar="CHECKPOINT", help="its name in the study")
    replay.add_argument(
        "--site", metavar="COMPONENT[@LAYER]", help="whose maximum, such as residual@13 (default: the site of M)"
    )
    replay.add_argument("--json", action="store_true", help="print one JSON object")
    replay.set_defaults(run=_replay)

    compare = commands.add_parser(
        "compare",
        parents=[store],
        help="two measurements site by site; exit code 1 where they differ beyond a tolerance",
        description="Exit codes: 0 within the tolerances, 1 beyond one, 2 a mistake in the input.",
    )
    for side in ("A", "B"):
        compare.add_argument(
            side.lower(),
            metavar=side,
            help="STUDY.yaml:CHECKPOINT, a manifest, or a folder of `maxact measure --tables`",
        )
    compare.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="[STATISTIC=]NUMBER",
        help="how far apart may be: peak, rms, mean, quantiles, massive (each relative, 0.05, and a number alone is for all "
        "five); distribution (0.02, Kolmogorov-Smirnov); nonfinite (0, relative)",
    )
    compare.add_argument(
        "--all-sites",
        action="store_true",
        help="for gates: a site or a statistic that one side has and the other has not is a difference",
    )
    compare.add_argument("--json", action="store_true", help="print one JSON object with every site")
    compare.set_defaults(run=_compare)

    scales = commands.add_parser(
        "scales", parents=[store], help="export scales of a measured checkpoint, to deploy it quantized"
    )
    scales.add_argument("study", type=Path, metavar="STUDY.yaml")
    scales.add_argument("checkpoint", metavar="CHECKPOINT", help="its name in the study")
    scales.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder for the three files")
    scales.add_argument("--format", choices=["int8", "fp8_e4m3"], default="int8", help="default: %(default)s")
    scales.add_argument(
        "--policy", default="max", metavar="max|quantile_0.999|mse|entropy", help="of thresholds (default: %(default)s)"
    )
    scales.add_argument("--alpha", type=float, default=0.5, help="of SmoothQuant, 0 to 1 (default: %(default)s)")
    scales.set_defaults(run=_scales)

    export = commands.add_parser(
        "export", parents=[store], help="put a finished study into one file, for a machine without weights and text"
    )
    export.add_argument("study", type=Path, metavar="STUDY.yaml")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.zip", help="a new file")
    export.add_argument("--figure", action="append", default=[], metavar="NAME", help="only what this figure needs")
    export.add_argument(
        "--table", action="append", default=[], metavar="NAME", help="only tables (all, as one rule makes them)"
    )
    export.add_argument("--with-measurements", action="store_true", help="also what the tables are made from")
    export.set_defaults(run=_export)

    unpack = commands.add_parser("import", parents=[store], help="put the archive of a study into the store")
    unpack.add_argument("file", type=Path, metavar="FILE.zip", help="what `maxact export` has written")
    unpack.add_argument("--anyway", action="store_true", help="also where this checkout would compute something else")
    unpack.set_defaults(run=_import)

    gc = commands.add_parser("gc", parents=[store], help="show, and with --delete delete, what no study needs any more")
    gc.add_argument("--delete", action="store_true", help="delete what is shown")
    gc.add_argument("--grace-days", type=float, default=14.0, metavar="DAYS", help="keep what is newer (default: 14)")
    gc.set_defaults(run=_gc)

    push = commands.add_parser(
        "push", parents=[store], help="give what was made here to MAXACT_REMOTE, where it lacks it; weights excepted"
    )
    push.set_defaults(run=_push)

    pull = commands.add_parser(
        "pull",
        parents=[store],
        help="take what manifests here name and the store lacks from MAXACT_REMOTE or MAXACT_MIRROR",
    )
    pull.set_defaults(run=_pull)

    show = commands.add_parser("show", parents=[store], help="what made a file, from what, and is it current")
    show.add_argument("file", type=Path, metavar="FILE", help="a manifest, an object, or a file of a report")
    show.set_defaults(run=_show)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _measure(options: argparse.Namespace) -> int:
    if (options.shard is None) != (options.out is None):
        raise UserError("measure: --shard and --out go together; give both or neither")
    if options.shard and (options.json or options.tables):
        raise UserError("measure: a shard alone has no result; give --json and --tables to `maxact merge`")
    if options.device == "cuda":
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
        return _tell(checkpoint, part, options)
    part.write(options.out)
    print(f"{options.out}: {checkpoint}, {len(part.samples)} of {part.about['number of samples']} samples")
    return 0


def _merge(options: argparse.Namespace) -> int:
    from maxact.shards import merge_shards

    return _tell(*merge_shards(options.shards), options)


def _tell(checkpoint: str, part: Part, options: argparse.Namespace) -> int:
    """Print a measurement, and write its tables where that is asked for."""
    from maxact.compare.sides import ABOUT, about_tables
    from maxact.shards import tables_of
    from maxact.single import nonfinite_total, to_json, to_text

    measurement = tables_of(part)
    if options.tables:
        measurement.write(options.tables)
        (options.tables / ABOUT).write_text(about_tables(part.about), encoding="utf-8")
    print(to_json(checkpoint, measurement) if options.json else to_text(checkpoint, measurement))
    count = nonfinite_total(measurement)
    if count:
        print(f"warning: {count} activations are NaN or infinite; M is over the finite ones", file=sys.stderr)
    return NONFINITE if count else 0


def _pin(options: argparse.Namespace) -> int:
    from maxact.hub.pin import pin_published, pin_study
    from maxact.study import PublishedStudy, load_any_study
    from maxact.study.pins import lock_file

    study = load_any_study(options.study)
    try:
        if isinstance(study, PublishedStudy):
            print(f"{pin_published(study, options.study, options.again)}: 1 source pinned")
            return 0
        file = pin_study(study, options.study, options.again)
    except KeyboardInterrupt:
        raise UserError(f"{lock_file(options.study)}: interrupted; it is as it was before") from None
    print(f"{file}: {len(list(study.from_hub()))} sources pinned")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from maxact.study import load_study
    from maxact.wheels import fetch_all

    study = load_study(options.study)
    fetch_all(study.wheels())
    fetch_all(study.wheels(optional=True), optional=True)
    return 0


def _plan(options: argparse.Namespace) -> int:
    from maxact.needs.plan import plan
    from maxact.study import load_study

    found = plan(load_study(options.study), options.store)
    print(found.to_json() if options.json else found.to_text())
    return 0


def _digest(options: argparse.Namespace) -> int:
    from maxact.checkpoints.folder import folder_digest
    from maxact.checkpoints.own_code import code_digest

    print(code_digest(options.folder) if options.code else folder_digest(options.folder))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from maxact.store.objects import Store
    from maxact.store.verify import faults

    store = _store(options.store)
    count = 0
    for fault in faults(Store(store)):
        count += 1
        made = f" ({'; '.join(fault.makers)})" if fault.makers else " (no manifest names it)"
        print(f"{fault.what}: {fault.path}{made}")
    objects = sum(1 for _ in store.glob("objects/*/*"))
    print(f"{objects} objects read, {count} at fault" + ("; a run that needs one makes it again" if count else ""))
    return FAULTS if count else 0


def _adopt(options: argparse.Namespace) -> int:
    import os

    from maxact.adopt import adopt
    from maxact.study import load_study

    study = load_study(options.study)
    # Before torch is imported, which reads it then.
    os.environ["OMP_NUM_THREADS"] = str(study.measure.threads)
    for verdict in adopt(study, _shared_store(options.store), options.locks):
        print(f"{verdict.checkpoint}: {verdict.verdict}", flush=True)
    return 0


def _replay(options: argparse.Namespace) -> int:
    import os

    from maxact.replay import replay
    from maxact.study import load_study

    study = load_study(options.study)
    os.environ["OMP_NUM_THREADS"] = str(study.measure.threads)
    found = replay(study, options.checkpoint, options.site, _shared_store(options.store))
    print(found.to_json() if options.json else found.to_text())
    return 0 if found.same == found.sites else DIFFERS


def _compare(options: argparse.Namespace) -> int:
    from maxact.compare.report import compare, to_json, to_text
    from maxact.compare.sites import parse_tolerances

    tolerances = parse_tolerances(options.tolerance)
    found = compare(options.a, options.b, options.store, tolerances, options.all_sites)
    print(to_json(found) if options.json else to_text(found))
    return DIFFERS if found.differs else 0


def _scales(options: argparse.Namespace) -> int:
    from maxact.quantize.deploy import deploy
    from maxact.quantize.export import Choice

    choice = Choice(options.format, options.policy, options.alpha)
    store = _shared_store(options.store)
    print(deploy(options.study, options.checkpoint, store, options.out, choice).to_text())
    return 0


def _export(options: argparse.Namespace) -> int:
    from maxact.archive.export import export

    store = _shared_store(options.store)
    made = export(options.study, store, options.out, options.figure, options.table, options.with_measurements)
    print(made.to_text())
    if not made.record.clean:
        print(
            "warning: the archive names no commit that makes the same keys; commit the changes and export again",
            file=sys.stderr,
        )
    return 0


def _import(options: argparse.Namespace) -> int:
    from maxact.archive.unpack import unpack
    from maxact.store.objects import Store

    print(unpack(options.file, Store(options.store), options.anyway).to_text())
    return 0


def _gc(options: argparse.Namespace) -> int:
    from collections import Counter

    from maxact.store.garbage import delete, garbage
    from maxact.store.objects import Store
    from maxact.store.workspace import hold_store

    root = _store(options.store)
    hold_store(root)
    store = Store(root)
    found = garbage(store, options.grace_days)
    for item in found:
        print(f"{item.size:>15,}  {item.kind:<12}  {item.path}")
    kinds = Counter(item.kind for item in found)
    told = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in sorted(kinds.items())) or "nothing"
    size = sum(item.size for item in found)
    if options.delete:
        delete(store, found)
        print(f"deleted {told}: {size:,} bytes")
    else:
        print(f"would delete {told}: {size:,} bytes" + ("; say --delete to do it" if found else ""))
    return 0


def _push(options: argparse.Namespace) -> int:
    from maxact.store.exchange import push

    print(push(_shared_store(options.store)))
    return 0


def _pull(options: argparse.Namespace) -> int:
    from maxact.store.exchange import pull

    print(pull(_shared_store(options.store)))
    return 0


def _show(options: argparse.Namespace) -> int:
    from maxact.store.show import show

    print(show(options.file, _store(options.store)))
    return 0


def _shared_store(root: Path) -> Store:
    """A store, with the places where other machines keep theirs."""
    from maxact.store.objects import Store
    from maxact.store.sharing import Shared

    return Store(_store(root), Shared.of_environment())


def _store(root: Path) -> Path:
    if not (root / "objects").is_dir():
        raise UserError(f"{root}: holds no store; say --store with the folder of artifacts")
    return root
