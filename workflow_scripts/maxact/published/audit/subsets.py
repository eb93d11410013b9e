"""The subsets of the samples: what can exceed the whole, how often M comes again, and which subsets are the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from maxact.published.audit.finding import Finding, M_of, Severity, code, names, peaks_of_M, table
from maxact.published.records import BootstrapRun, Published, PublishedCheckpoint, tokens_of
from maxact.results.deviation import deviation


def _runs(published: Published) -> Iterator[tuple[BootstrapRun, PublishedCheckpoint]]:
    whole = {checkpoint.name: checkpoint for checkpoint in published.checkpoints}
    yield from ((run, whole[run.name]) for run in published.bootstrap if run.name in whole)


def above_whole(published: Published) -> Finding | None:
    """Subsets with a larger maximum than the samples that they were drawn from."""
    rows: list[dict[str, Any]] = []
    for run, whole in _runs(published):
        of_all, of_subset = peaks_of_M(whole), peaks_of_M(run.statistics)
        excess = {
            site: value / of_all[site] - 1
            for site, value in of_subset.items()
            if of_all.get(site) and value > of_all[site]
        }
        if not excess:
            continue
        worst = max(excess, key=lambda site: excess[site])
        row = {
            "checkpoint": run.name,
            "size": run.size,
            "repetition": run.repetition,
            "M": M_of(run.statistics),
            "M_of_all": M_of(whole),
        }
        row |= {"sites_above": len(excess), "sites": len(of_subset), "worst_site": worst, "worst_excess": excess[worst]}
        rows.append(row)
    if not rows:
        return None
    larger = [row for row in rows if (row["M"] or 0.0) > (row["M_of_all"] or 0.0)]
    who = names(sorted({str(row["checkpoint"]) for row in larger}))
    of_M = f"M itself is larger in {len(larger)} of them ({who})" if larger else "M itself is larger in none"
    highest = max(row["worst_excess"] for row in rows)
    return Finding(
        "above_whole",
        "Subsets above the whole",
        Severity.NUMBER,
        "A subset cannot have a larger maximum than the samples that it was drawn from, if each is computed alike. "
        f"{len(rows)} of {len(published.bootstrap)} subsets have one at some site, by up to {highest:.1%}; {of_M}. The files "
        "tell no size of batch; the released scripts run subsets in smaller batches than the whole, which can round "
        "otherwise. Whatever the cause, maxima are known no better than to that excess.",
        f"max and min by site; {code('run_all_experiments.sh', 'lines 67 to 73')}; {code('run.sh', 'lines 42 to 79')}",
        table(rows),
    )


def rarely_reached(published: Published) -> Finding | None:
    """Checkpoints with subsets whose M is below that of all samples."""
    every = spread(published)
    rows = [row for row in every if row["reach_M"] + row["above_M"] < row["runs"]]
    if not rows:
        return None
    reach, above, runs = (sum(row[name] for row in every) for name in ("reach_M", "above_M", "runs"))
    return Finding(
        "rarely_reached",
        "Subsets that do not reach M",
        Severity.NUMBER,
        f"M of all samples is reached in {reach} of {runs} subsets and exceeded in {above}; the others are up to "
        f"{max(1 - row['smallest'] / row['M'] for row in rows):.1%} lower. If one sample alone had M, a subset would have it "
        "with the probability in the column one_sample.",
        f"global_max_activation of subsets and of the whole; {code('make_bootstrap_datasets.py', 'lines 44 to 58')}",
        table(rows),
    )


def spread(published: Published) -> list[dict[str, Any]]:
    """A row for each checkpoint and size of subset: how M scatters, as deviation and as range, by the mean."""
    groups = defaultdict(list)
    for run, whole in _runs(published):
        groups[run.name, run.size].append((M_of(run.statistics), M_of(whole), whole.samples))
    rows: list[dict[str, Any]] = []
    for (name, size), found in sorted(groups.items()):
        values, M, samples = [value for value, _, _ in found if value], found[0][1], found[0][2]
        if not values or not M:
            continue
        row = {
            "checkpoint": name,
            "size": size,
            "runs": len(values),
            "M": M,
            "smallest": min(values),
            "largest": max(values),
        }
        row |= {"reach_M": sum(value == M for value in values), "above_M": sum(value > M for value in values)}
        row |= {"one_sample": size / samples}
        mean = float(np.mean(values))
        by_mean = deviation(values) / mean if len(values) > 1 else None
        rows.append({**row, "deviation_by_mean": by_mean, "range_by_mean": (max(values) - min(values)) / mean})
    return rows


def same_subsets(published: Published) -> Finding | None:
    """Different checkpoints whose subsets have the same tokens, run by run."""
    tokens: dict[str, dict[tuple[int, int], int | None]] = defaultdict(dict)
    for run, _ in _runs(published):
        tokens[run.name][run.size, run.repetition] = tokens_of(run.statistics)
    groups = defaultdict(list)
    for name, seen in sorted(tokens.items()):
        if len(seen) > 1 and None not in seen.values():
            groups[tuple(sorted(seen.items()))].append(name)
    rows = [
        {"checkpoints": names(found), "runs": len(seen), "tokens_of_first": seen[0][1]}
        for seen, found in groups.items()
        if len(found) > 1
    ]
    if not rows:
        return None
    return Finding(
        "same_subsets",
        "Different checkpoints, the same subsets",
        Severity.COSMETIC,
        "The same subsets were drawn for all checkpoints: those with the same tokenizer have the same number of tokens run "
        "by run. Their scatter is not of independent draws.",
        f"sun_n_tokens of subsets; {code('make_bootstrap_datasets.py', 'lines 85 to 93')}",
        table(rows),
    )
