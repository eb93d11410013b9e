"""The shape of a checkpoint: what its configuration and the headers of its weights say of its size."""

from __future__ import annotations

from maxact.study.sections import NotNegative, Positive, Section


class Shape(Section):
    """Numbers of a text decoder. Experts are those that a router chooses from; 0 where there are none."""

    parameters: Positive
    """Of all tensors stored, the parts that see images included."""
    layers: Positive
    hidden_size: Positive
    heads: Positive
    key_value_heads: Positive
    head_size: Positive
    intermediate_size: NotNegative
    """Of the dense block or of shared experts."""
    experts: NotNegative
    experts_per_token: NotNegative
    expert_size: NotNegative
    vocabulary: Positive
