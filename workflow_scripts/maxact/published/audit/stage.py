"""The stage `audit`: what is wrong with the authors' result files, as a page."""

from __future__ import annotations

from collections import Counter

from maxact.published.audit import audit, readings
from maxact.published.audit.pages import page, to_json
from maxact.published.files import read_tree
from maxact.published.source import results_folder
from maxact.results.pages import page_files
from maxact.results.registry import AUDIT
from maxact.store.job import Job, Product


def compute(job: Job) -> Product:
    """`audit.md`, `.json` and `.html`; the summary counts findings by severity.

    Raises:
        UserError: the files cannot be had, or are others than when the workflow was read.
    """
    published = read_tree(results_folder(job))
    data, code = audit(published), readings(published)
    counts = Counter(str(finding.severity) for finding in (*data, *code))
    files = page_files(job.scratch, AUDIT, page(data, code), to_json(data, code))
    return Product(files=files, summary={"findings": dict(sorted(counts.items()))})
