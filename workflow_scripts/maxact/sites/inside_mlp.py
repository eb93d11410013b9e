"""Inside the MLP of an unknown architecture: projections, router, experts.

A gate is told by what happens to it: the input of the down projection is a product, one factor of which is a projection as it
is, and the other comes from the gate through the activation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from maxact.sites.find import Found, Place
from maxact.sites.linear import linear_calls
from maxact.sites.parts import (
    NO_EXPERTS,
    NO_ROUTER,
    NO_SHARED_EXPERT,
    NO_SHARED_EXPERT_DOWN,
    SEPARATE_EXPERTS,
    fused_experts,
)
from maxact.sites.trial import TOKENS, Call, Key, Trial, key_of, taken

NO_GATE_PROJECTION = "the MLP has no gate projection"
OTHER_EXPERTS = "experts of this kind are not computed by transformers' experts functions"


def mlp_inside(trial: Trial, calls: list[Call], output: Key | None) -> dict[str, Found]:
    """Gate, down projection, router and experts among the calls within an MLP that returned `output`."""
    experts = _experts(trial, calls)
    if experts is None:
        inside: dict[str, Found] = dict.fromkeys(("expert_gate", "expert_down_input"), NO_EXPERTS)
        down = next((call for call in linear_calls(calls) if call.outputs[0].key == output), None)
        return {**inside, "router_logits": NO_ROUTER, **_projections(trial, calls, down)}
    of_experts, places = experts
    rest = [call for call in calls if not any(call is one or call.within(one) for one in of_experts)]
    shared = _shared(rest)
    none: dict[str, Found] = {"gate": NO_SHARED_EXPERT, "down_input": NO_SHARED_EXPERT_DOWN}
    places |= none if shared is None else _projections(trial, rest, shared)
    beside = "" if shared is None else shared.name.rpartition(".")[0]
    routing = [call for call in rest if not beside or not call.name.startswith(beside)]
    return {**places, "router_logits": _router(trial, routing, of_experts[0], _number(trial, of_experts[0]))}


def _experts(trial: Trial, calls: list[Call]) -> tuple[list[Call], dict[str, Found]] | None:
    """The calls of routed experts, and what can be taken inside them; None where there are none."""
    for call in calls:
        if hasattr(call.module, "is_concatenated") and hasattr(call.module, "_apply_gate"):
            several = {"call": call.number, "decoder": trial.decoder} if trial.times(call.module) > 1 else {}
            places = fused_experts(call.module)
            for name, place in places.items():
                if isinstance(place, Place) and several:
                    places[name] = Place(place.module, inside=place.inside, experts=place.experts, **several)
            return [call], places
    names = ("expert_gate", "expert_down_input")
    lists = [call for call in calls if ".experts." in f".{call.name}."]
    if lists:
        separate = isinstance(
            trial.decoder.get_submodule(lists[0].name.rpartition("experts")[0] + "experts"), nn.ModuleList
        )
        return lists, dict.fromkeys(names, SEPARATE_EXPERTS if separate else OTHER_EXPERTS)
    other = [call for call in calls if "expert" in type(call.module).__name__.lower() and "shared" not in call.name]
    return (other, dict.fromkeys(names, OTHER_EXPERTS)) if other else None


def _shared(calls: list[Call]) -> Call | None:
    """The down projection of the expert that all tokens share: named so, and given one row for each token."""
    named = [
        call for call in linear_calls(calls) if call.name.rpartition(".")[2] in ("down_proj", "w2", "output_linear")
    ]
    return (
        named[-1]
        if len(named) == 1 and named[0].inputs[0].x.numel() == len(TOKENS) * named[0].inputs[0].width
        else None
    )


def _projections(trial: Trial, calls: list[Call], down: Call | None) -> dict[str, Found]:
    """Input of the down projection, and the gate that it is made from."""
    if down is None:
        unknown = "no down projection returns what the MLP returns"
        return {"gate": unknown, "down_input": unknown}
    places: dict[str, Found] = {"down_input": taken(trial, down, down.inputs[0])}
    before = [call for call in linear_calls(calls) if call.end < down.start]
    key = down.inputs[0].key
    made = trial.made.get(key) if key is not None else None
    if made is None or made.kind != "product" or len(made.whole) != 2:
        return {**places, "gate": NO_GATE_PROJECTION}
    width = down.inputs[0].width
    halves: list[tuple[Call, slice | None, Key | None]] = []
    for call in before:
        value = call.outputs[0]
        if value.width == width:
            halves.append((call, None, value.key))
        elif value.width == 2 * width:
            parts = (slice(0, width), slice(width, 2 * width))
            halves += [(call, part, key_of(value.x[..., part])) for part in parts]
    gates = [half for half in halves if half[2] not in made.whole]
    if len(halves) < 2:  # an activation that multiplies its input with something
        return {**places, "gate": NO_GATE_PROJECTION}
    if len(halves) == 2 and len(gates) == 1:
        call, part, _ = gates[0]
        return {**places, "gate": taken(trial, call, call.outputs[0], part)}
    return {**places, "gate": "which projection is the gate could not be told"}


def _number(trial: Trial, call: Call) -> int | None:
    """How many experts there are, where the module or the list of modules says so."""
    told = getattr(call.module, "num_experts", None)
    if isinstance(told, int):
        return told
    path = call.name.rpartition("experts")[0] + "experts"
    listed = dict(trial.decoder.named_modules()).get(path)
    return len(listed) if isinstance(listed, nn.ModuleList) else None


def _router(trial: Trial, calls: list[Call], experts: Call, number: int | None) -> Found:
    """What is the product of hidden states and a module's matrix: scores of the experts as they come, before any softmax."""
    for call in calls:
        weight: Any = getattr(call.module, "weight", None)
        if call.start > experts.start or weight is None or weight.dim() != 2 or not call.inputs:
            continue
        x, bias = call.inputs[0].x, getattr(call.module, "bias", None)
        if (
            not x.is_floating_point()
            or x.shape[-1] != weight.shape[1]
            or weight.shape[0] != (number or weight.shape[0])
        ):
            continue
        with torch.inference_mode():
            expected = nn.functional.linear(x.float().reshape(-1, x.shape[-1]), weight.float().to(x.device))
            expected = expected if bias is None else expected + bias.float().to(x.device)
        if expected.shape[0] != len(TOKENS) or expected.shape[1] < 2:
            continue
        for value in call.outputs:
            if value.x.numel() == expected.numel() and value.width == expected.shape[1] and value.x.is_floating_point():
                # Between the roundings of the product in 16 and in 32 bits, and far from a softmax of it.
                scale = float(expected.abs().max())
                if torch.allclose(value.x.float().reshape(expected.shape), expected, rtol=0.02, atol=0.01 * scale):
                    return taken(trial, call, value)
    return "no module returns the product of hidden states and the router's matrix"
