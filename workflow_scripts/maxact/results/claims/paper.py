"""What the paper says: the only place where its words and numbers are. Nothing here is computed, and nothing computed is here.

"Measuring Maximum Activations in Open Large Language Models", arXiv 2605.15572, version 1; the authors' repository
github.com/clx1415926/Max_act_llm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stated:
    """A claim in our words.

    Attributes:
        text: with the names of `numbers` in braces.
        source: where it is said.
        numbers: what the verdict compares with.
    """

    title: str
    text: str
    source: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def statement(self) -> str:
        return self.text.format(**self.numbers)


PAPER: dict[str, Stated] = {
    "span": Stated(
        "Span of M",
        "At comparable parameter counts M spans nearly {orders} orders of magnitude.",
        "abstract, (i)",
        {"orders": 4},
    ),
    "small": Stated(
        "Qwen3.5 and mixtures of experts",
        "M of Qwen3.5 and of mixtures of experts is between 10^{low} and 10^{high}.",
        "abstract, (i)",
        {"low": 2, "high": 3, "model_types": ("qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text")},
    ),
    "largest": Stated(
        "The largest M",
        "M of {checkpoint} is about {value:,.0f}.",
        "abstract, (i)",
        {"checkpoint": "gemma-3-27b-it", "value": 700_000},
    ),
    "scaling": Stated(
        "No simple scaling",
        "Across families and across generations M does not simply grow with the number of parameters.",
        "abstract, (ii)",
    ),
    "experts": Stated(
        "Mixtures of experts against dense checkpoints",
        "M of mixtures of experts is {low} to {high} times lower than that of dense checkpoints of matched size.",
        "abstract, (iii)",
        {"low": 14.0, "high": 23.4},
    ),
    "residual": Stated(
        "Where M is",
        "The residual stream carries M in {count} of {total} checkpoints.",
        "abstract, (iii)",
        {"count": 22, "total": 24},
    ),
    "massive": Stated(
        "The massive-activation test",
        "{count} of {total} checkpoints pass the massive-activation test: in the residual stream of some layer a token has an "
        "|x| above 100 and above 1,000 times its median |x|.",
        "body, on the existence of massive activations (section 4.1 of paper_outline.txt, commit f8db539)",
        {"count": 20, "total": 24},
    ),
    "int8": Stated(
        "INT-8 error and M",
        "The error of INT-8 activations varies with M.",
        "abstract, last finding",
    ),
    "stability": Stated(
        "Stability under resampling",
        "M of random subsets of the samples is within {percent} % of M of all samples.",
        "body, on bootstrap stability (results/supplementary_experiments/findings_and_conclusions.txt, commit d3a0f2e)",
        {"percent": 10},
    ),
}
