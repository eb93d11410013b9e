"""The tree of the authors' result files, read and checked.

    <series>/json/<model>_activation_stats.json      statistics of every site
    <series>/json/<model>_top5_stats.json            the largest |x| of the sites that M ranges over
    quant/<model>_quant_sanity.json                  errors of an integer format; quant_sanity_summary.json: their means
    bootstrap/<model>_s<size>_r<n>_activation_stats.json
    bootstrap/<size>/r<n>/<series>/json/<model>_activation_stats.json    the same, as their repository has it

A fault is a `Problem` that names file and field; what it spoils is left out and the rest is read (`listing.py` has what
is not opened at all). A model is what its file says it is, so that files may have any name; a name that says otherwise
is a problem, and of two files for one model the one with the model's name is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from maxact.published.document import Document
from maxact.published.listing import APART, QUANT, STATISTICS, SUMMARY, TOP, listed, subset_of
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

__all__ = [
    "BootstrapRun",
    "Problem",
    "Published",
    "PublishedCheckpoint",
    "QuantRun",
    "Top",
    "TopOfSite",
    "read_tree",
]

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Tree:
    """A folder, the results in it that can be read, and what is wrong with them."""

    folder: Path
    files: tuple[str, ...]
    problems: list[Problem]

    def documents(self, wanted: Callable[[str], bool]) -> Iterator[tuple[Path, Document]]:
        """Path and content of the files whose paths below the folder are wanted, in their order."""
        for path in filter(wanted, self.files):
            yield self.folder / path, Document(self.folder, self.folder / path, self.problems)


def read_tree(folder: Path) -> Published:
    """Read and check every file.

    Raises:
        UserError: no folder, or none of the files in it.
    """
    found = listed(folder)
    tree = _Tree(
        folder,
        tuple(path for path, why in found.items() if why is None),
        [Problem(path, "", why, "error") for path, why in found.items() if why is not None],
    )
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


def _by_model(
    tree: _Tree, suffix: str, read: Callable[[Document, Path], tuple[str, _T] | None]
) -> dict[str, tuple[str, _T]]:
    """What the files of that suffix hold, by model, each with its file; of two for one model the one named after it."""
    found: dict[str, tuple[str, _T]] = {}
    named: dict[str, bool] = {}
    for path, document in tree.documents(lambda path: path.endswith(suffix) and path.partition("/")[0] not in APART):
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
    doubts = dict(checkpoint.doubts)
    for site, found in top_contradictions(checkpoint, top):
        tree.problems.append(Problem(top.file, found.field, found.what, "warning"))
        if found.largest is not None:
            doubts[site] = max(doubts.get(site, 0.0), found.largest)
    return replace(checkpoint, top=top, doubts=doubts)


def _named_after(document: Document, path: Path, suffix: str, name: str) -> bool:
    """Whether a file has the name of the model in it; a problem where it has another."""
    said = path.name.removesuffix(suffix)
    if said != name:
        document.problem("model_name", f"a file for {name} under the name of {said}; read as {name}", "warning")
    return said == name


def _quant(tree: _Tree, known: dict[str, PublishedCheckpoint]) -> Iterator[QuantRun]:
    seen: dict[str, str] = {}
    for path, document in tree.documents(lambda path: path.startswith("quant/") and path.endswith(QUANT)):
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
    document = next((found for _, found in tree.documents(lambda path: path == f"quant/{SUMMARY}")), None)
    if document is None:
        return ()
    rows = read_summary(document)
    for field, what in summary_contradictions(rows, runs):
        document.problem(field, what, "warning")
    return rows


def _bootstrap(tree: _Tree) -> Iterator[BootstrapRun]:
    found: dict[tuple[str, int, int], BootstrapRun] = {}
    for _, document in tree.documents(lambda path: path.startswith("bootstrap/")):
        subset = subset_of(document.file)
        assert subset is not None
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
