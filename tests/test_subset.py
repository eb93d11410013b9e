"""Some of the samples: each domain its share, the same for the same seed."""

from __future__ import annotations

from collections import Counter

from maxact.subset import chosen


def test_some_samples_are_taken_from_every_domain_and_all_without_a_number() -> None:
    rows = [{"id": str(number), "domain": "web" if number % 3 else "code"} for number in range(30)]
    assert chosen(rows, None, 1) == rows
    some = chosen(rows, 9, 1)
    assert Counter(row["domain"] for row in some) == {"web": 6, "code": 3}
    assert some == [row for row in rows if row in some]
    assert chosen(rows, 9, 1) == some != chosen(rows, 9, 2)
    assert chosen(rows, 30, 1) == rows
