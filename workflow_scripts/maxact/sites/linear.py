"""Which modules multiply by a matrix."""

from __future__ import annotations

from collections.abc import Iterable

from maxact.sites.trial import Call


def is_linear(call: Call) -> bool:
    """Whether a module has a matrix that is as wide as its input on one side and as its output on the other."""
    weight = getattr(call.module, "weight", None)
    if weight is None or weight.dim() != 2 or not call.inputs or len(call.outputs) != 1:
        return False
    widths = call.inputs[0].width, call.outputs[0].width
    return tuple(weight.shape) in (widths, widths[::-1]) and call.inputs[0].x.is_floating_point()


def linear_calls(calls: Iterable[Call]) -> list[Call]:
    """Those that are matrix multiplications, in order."""
    return [call for call in calls if is_linear(call)]
