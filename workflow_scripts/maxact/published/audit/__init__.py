"""What a careful reader of the authors' result files should know: faults that the data show, and some that only the code shows.

Each check is a function of what was read (`records.Published`): it finds a fault wherever it is, whatever files and
checkpoints are called, and nothing where there is none. To add one: a function that returns a `Finding` or None, its line in
`CHECKS`, and its fault in `tests/published/audit/test_checks.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from maxact.published.audit import coverage, errors, maxima, quantization, routers, series, subsets, values
from maxact.published.audit.faults import faults_of_files
from maxact.published.audit.finding import Finding, Severity
from maxact.published.audit.reading import READINGS
from maxact.published.records import Published

Check = Callable[[Published], Finding | None]

CHECKS: tuple[Check, ...] = (
    routers.router_outputs,
    series.mixed_series,
    maxima.ties,
    maxima.emergence_by_sign,
    maxima.common_massive,
    quantization.other_components,
    errors.saturated,
    coverage.text_alone,
    coverage.gates_missing,
    subsets.rarely_reached,
    series.copies,
    coverage.other_tokens,
    coverage.counted_twice,
    coverage.layers_beyond,
    routers.padding_counted,
    quantization.coarse_thresholds,
    quantization.beyond_calibration,
    subsets.above_whole,
    values.top_lists,
    maxima.elsewhere,
    maxima.gates_above,
    values.other_dtype,
    faults_of_files,
    maxima.sign_tied,
    subsets.same_subsets,
    coverage.limit_unreached,
    errors.shorter_limit,
    series.local_paths,
)

ORDER = list(Severity)


def audit(published: Published) -> list[Finding]:
    """What the data show, the gravest first."""
    return _graded([found for check in CHECKS if (found := check(published)) is not None])


def readings(published: Published) -> list[Finding]:
    """What the released code shows, the gravest first."""
    return _graded([found for reading in READINGS if (found := reading(published)) is not None])


def _graded(found: list[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))
