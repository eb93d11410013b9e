"""The page of the audit, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

from maxact.published.audit import audit, readings
from maxact.published.audit.finding import Severity
from maxact.published.audit.pages import page, to_json
from maxact.published.files import Published
from maxact.results.pages import page_to_html, page_to_markdown
from maxact.store.objects import canonical
from published.audit.faults import A, Files, put_twice, statistics


def test_the_page_and_the_json_tell_the_same_and_names_stay_text(read: Callable[..., Published]) -> None:
    hostile = "<b>|x`"

    def change(files: Files) -> None:
        put_twice(files, A)
        statistics(files, A)["model_type"] = hostile

    published = read(change)
    data, code = audit(published), readings(published)
    for text in (page_to_markdown(page(data, code)), page_to_html(page(data, code))):
        assert "<b>|" not in text
        assert "&lt;b&gt;" in text
        assert "counted twice" in text
    found = to_json(data, code)
    assert json.loads(canonical(found)) == found
    assert [finding["name"] for finding in found] == [finding.name for finding in (*data, *code)]
    order = [list(Severity).index(finding.severity) for finding in data]
    assert order == sorted(order)
    assert all(finding.source and finding.what for finding in (*data, *code))
