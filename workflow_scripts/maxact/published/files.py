"""The tree of the authors' result files, read and checked.

    <series>/json/<model>_activation_stats.json      statistics of every site
    <series>/json/<model>_top5_stats.json            the largest |x| of the sites that M ranges over
    quant/<model>_quant_sanity.json                  errors of an integer format; quant_sanity_summary.json: their means
    bootstrap/<model>_s<size>_r<n>_activation_stats.json
    bootstrap/<size>/r<n>/<series>/json/<model>_activation_stats.json    the same, as their repository has it

A fault is a `Problem` that names file and field; what it spoils is left out and the rest is read. A model is what its file
says it is, so that files may have any name; a name that says otherwise is a problem, and of two files for one model the
one with the model's name is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from maxact.errors import UserError
from maxact.published.document import Document, is_text
from maxact.published.quant import read_run, read_summary, summary_contradictions
from maxact.published.records import (
    BootstrapRun,
    Problem,
    Published,
    PublishedCheckpoint,
    QuantRun,
    Top,
    TopOfSite,
)
from maxact.published.statistics import read_statistics
from maxact.published.top import read_top, top_contradictions
from maxact.store.objects import digest_file

__all__ = [
    "BootstrapRun",
    "Problem",
    "Published",
    "PublishedCheckpoint",
    "QuantRun",
    "Top",
    "TopOfSite",
    "file_digests",
    "model_of",
    "read_tree",
    "result_files",
]

STATISTICS, TOP, QUANT, SUMMARY = (
    *("_activation_stats.json", "_top5_stats.json"),
    *("_quant_sanity.json", "quant_sanity_summary.json"),
)
APART = ("quant", "bootstrap", "supplementary", "supplementary_experiments")
"""Folders that are no series. The last two hold what `quant` and `bootstrap` have, once more."""

_FLAT = re.compile(rf"(?P<name>.+)_s(?P<size>[0-9]{{1,9}})_r(?P<repetition>[0-9]{{1,9}}){re.escape(STATISTICS)}")
_NESTED = re.compile(
    rf"(?P<size>[0-9]{{1,9}})/r(?P<repetition>[0-9]{{1,9}})/[^/]+/json/(?P<name>.+){re.escape(STATISTICS)}"
)


_T = TypeVar("_T")


@dataclass(frozen=True)
class _Tree:
    folder: Path
    problems: list[Problem]

    def document(self, path: Path) -> Document:
        return Document(self.folder, path, self.problems)


def is_result_path(path: str) -> bool:
    """Whether a file at that path below the folder is one that `read_tree` reads."""
    head, _, below = path.partition("/")
    if head == "bootstrap":
        return bool(_FLAT.fullmatch(below) or _NESTED.fullmatch(below))
    if head == "quant":
        return "/" not in below and (below == SUMMARY or below.endswith(QUANT))
    return head not in APART and bool(re.fullmatch(rf"json/[^/]+({STATISTICS}|{TOP})", below))


def model_of(path: str) -> str | None:
    """The model that a file is named after; None where its name has none."""
    _, _, name = path.rpartition("/")
    flat, nested = (pattern.fullmatch(path.partition("/")[2]) for pattern in (_FLAT, _NESTED))
    if path.startswith("bootstrap/") and (found := flat or nested):
        return found["name"]
    return next((name.removesuffix(suffix) for suffix in (STATISTICS, TOP, QUANT) if name.endswith(suffix)), None)


def result_files(folder: Path) -> list[Path]:
    """The files that `read_tree` reads, sorted.

    Raises:
        UserError: no folder, none of the files in it, a file whose name is no text, or a folder of such a name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of the authors' result files")
    every = list(folder.rglob("*.json"))
    for path in every:
        if not is_text(str(path)):
            raise UserError(f"{str(path)!a}: a name that is not UTF-8; rename the file")
    found = sorted(path for path in every if is_result_path(path.relative_to(folder).as_posix()))
    for path in found:
        if not path.is_file():
            raise UserError(f"{path}: no file, and named like one of the results; rename it")
    if not found:
        raise UserError(f"{folder}: no <series>/json/*{STATISTICS} in it; give the folder of the authors' result files")
    return found


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each of these files, by its path below the folder.

    Raises:
        UserError: no folder, none of the files in it, or one that cannot be read.
    """
    try:
        return {path.relative_to(folder).as_posix(): digest_file(path) for path in result_files(folder)}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); mend the file") from None


def read_tree(folder: Path) -> Published:
    """Read and check every file.

    Raises:
        UserError: no folder, or none of the files in it.
    """
    result_files(folder)
    tree = _Tree(folder, [])
    tops = {name: top for name, (_, top) in _by_model(tree, TOP, lambda document, _: read_top(document)).items()}
    read = _by_model(tree, STATISTICS, _statistics)
    known = {name: _with_top(tree, found, tops.get(name)) for name, (_, found) in read.items()}
    for name in sorted(tops.keys() - known.keys()):
        tree.problems.append(Problem(tops[name].file, "model_name", f"no statistics of {name}; left out", "error"))
    runs = list(_quant(tree, known))
    summary = _summary(tree, runs)
    return Published(
        checkpoints=tuple(sorted(known.values(), key=lambda found: (found.series, found.name))),
        quant=tuple(runs),
        quant_summary=summary,
        bootstrap=tuple(_bootstrap(tree)),
        problems=tuple(tree.problems),
    )


def _of_series(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"*/json/*{suffix}") if path.parts[-3] not in APART)


def _by_model(
    tree: _Tree, suffix: str, read: Callable[[Document, Path], tuple[str, _T] | None]
) -> dict[str, tuple[str, _T]]:
    """What the files of that suffix hold, by model, each with its file; of two for one model the one named after it."""
    found: dict[str, tuple[str, _T]] = {}
    named: dict[str, bool] = {}
    for path in _of_series(tree.folder, suffix):
        document = tree.document(path)
        if (one := read(document, path)) is None:
            continue
        name, fits = one[0], _named_after(document, path, suffix, one[0])
        if name in found:
            left, kept = document.file, found[name][0]
            if fits and not named[name]:
                left, kept = kept, left
            tree.problems.append(Problem(left, "model_name", _second(name, kept), "error"))
            if kept != document.file:
                continue
        found[name], named[name] = (document.file, one[1]), fits
    return found


def _statistics(document: Document, path: Path) -> tuple[str, PublishedCheckpoint] | None:
    read = read_statistics(document, path.parts[-3])
    return None if read is None else (read.name, read)


def _second(name: str, kept: str) -> str:
    return f"a second file for {name}; left out, {kept} is read"


def _with_top(tree: _Tree, checkpoint: PublishedCheckpoint, top: Top | None) -> PublishedCheckpoint:
    if top is None:
        what = f"no *{TOP} of this model; its largest values are not known"
        tree.problems.append(Problem(checkpoint.file, "model_name", what, "error"))
        return checkpoint
    for field, what in top_contradictions(checkpoint, top):
        tree.problems.append(Problem(top.file, field, what, "warning"))
    return replace(checkpoint, top=top)


def _named_after(document: Document, path: Path, suffix: str, name: str) -> bool:
    """Whether a file has the name of the model in it; a problem where it has another."""
    said = path.name.removesuffix(suffix)
    if said != name:
        document.problem("model_name", f"a file for {name} under the name of {said}; read as {name}", "warning")
    return said == name


def _quant(tree: _Tree, known: dict[str, PublishedCheckpoint]) -> Iterator[QuantRun]:
    seen: dict[str, str] = {}
    for path in sorted(tree.folder.glob(f"quant/*{QUANT}")):
        document = tree.document(path)
        run = read_run(document, known)
        if run is None:
            continue
        _named_after(document, path, QUANT, run.name)
        if run.name in seen:
            document.problem("model_name", _second(run.name, seen[run.name]))
            continue
        seen[run.name] = run.file
        yield run


def _summary(tree: _Tree, runs: list[QuantRun]) -> tuple[Mapping[str, Any], ...]:
    path = tree.folder / "quant" / SUMMARY
    if not path.is_file():
        return ()
    document = tree.document(path)
    rows = read_summary(document)
    for field, what in summary_contradictions(rows, runs):
        document.problem(field, what, "warning")
    return rows


def _subset(folder: Path, path: Path) -> re.Match[str] | None:
    below = path.relative_to(folder / "bootstrap").as_posix()
    return _FLAT.fullmatch(below) or _NESTED.fullmatch(below)


def _bootstrap(tree: _Tree) -> Iterator[BootstrapRun]:
    found: dict[tuple[str, int, int], BootstrapRun] = {}
    for path in sorted(tree.folder.glob(f"bootstrap/**/*{STATISTICS}")):
        subset = _subset(tree.folder, path)
        if subset is None:
            what = "size and repetition of the subset, of at most 9 digits, are not in its path; left out"
            tree.problems.append(Problem(path.relative_to(tree.folder).as_posix(), "", what, "error"))
            continue
        document = tree.document(path)
        read = read_statistics(document, "bootstrap")
        if read is None:
            continue
        _named_after(document, Path(subset["name"] + STATISTICS), STATISTICS, read.name)
        key = (read.name, int(subset["size"]), int(subset["repetition"]))
        if read.samples != key[1]:
            document.problem("num_samples", f"{read.samples}, but the path says {key[1]}", "warning")
        if key in found:
            document.problem(
                "model_name", _second(f"{key[0]}, size {key[1]}, repetition {key[2]}", found[key].statistics.file)
            )
            continue
        found[key] = BootstrapRun(*key, statistics=read)
    yield from (found[key] for key in sorted(found))
