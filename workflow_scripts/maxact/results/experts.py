"""What routed experts have seen: the maximum of one that few tokens chose says little."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from maxact.results.frames import MARK_TYPES, typed
from maxact.results.member import Member, in_order, marks
from maxact.results.sureness import new_maximum_bound

FEW = 100
"""Tokens; an expert that was chosen by fewer is counted."""


def experts(members: Sequence[Member]) -> pd.DataFrame:
    """A row for each checkpoint with routed experts and layer: what its experts saw, and what that means.

    `bound` is the most probable that a new maximum of the least-seen expert is, among as many further tokens as the
    median expert saw, if its tokens were exchangeable.
    """
    rows = []
    for member in in_order(members):
        seen = member.experts.drop_duplicates(["layer", "expert"])
        largest = member.experts.groupby("layer").abs_max.max()
        for layer, part in seen.groupby("layer"):
            least, median = int(part.tokens.min()), int(part.tokens.median())
            few = part.tokens[part.tokens > 0]
            row = {
                **marks(member),
                "layer": layer,
                "experts": len(part),
                "tokens_least": least,
                "tokens_median": median,
            }
            row |= {"never_seen": int((part.tokens == 0).sum()), "few": int((few < FEW).sum())}
            bound = new_maximum_bound(least, median) if least + median else None
            rows.append(row | {"bound": bound, "largest": largest[layer]})
    types = dict.fromkeys(("layer", "experts", "tokens_least", "tokens_median", "never_seen", "few"), "Int64")
    return typed(rows, {**MARK_TYPES, **types, "bound": "float64", "largest": "float64"})
