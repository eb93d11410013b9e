"""Inside one block of an unknown architecture: what it adds to the residual stream, and which modules that comes from.

From the block's output back to its input, every sum has one operand through which the stream comes; the other operands are
what is added. Norms and factors on the way, on either side, are passed through. What is added is followed back to the
outermost module that returns it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from maxact.sites.components import COMPONENTS
from maxact.sites.find import CHOSEN, Found, Place
from maxact.sites.inside_mlp import mlp_inside
from maxact.sites.linear import linear_calls
from maxact.sites.parts import NO_NORM_AFTER_ATTENTION, NO_NORM_AFTER_MLP, OWN_ATTENTION
from maxact.sites.trial import TOKENS, Call, Key, Made, Trial, Value, is_norm, taken

MIXES_TOKENS = re.compile(r"attn|attention|mamba|ssm|recurrent|temporal|conv|time_mix|delta|kda|retention", re.I)
FEEDS_FORWARD = re.compile(r"mlp|ffn|ff$|ff\.|feed_?forward|moe|expert|fc2|feedforward|channel_mix|mixture", re.I)
KEEPS_NO_KEYS = re.compile(r"mamba|ssm|recurrent|short_?conv|delta|linear_?att|lightning|kda|rwkv|xlstm", re.I)
NO_CACHE = "this mixer of tokens keeps no keys and values"
NO_ATTENTION = "the block has no attention and no other mixer of tokens"
NO_MLP = "the block has no MLP"
NOT_ADDED = "what the block has of this does not add to its stream"
NO_STREAM = "what the block adds could not be followed back to its modules"


@dataclass(eq=False)
class Added:
    """Something that a block adds to the stream.

    Attributes:
        call: the outermost call that returned it, and `value`, which of its outputs it was.
        norm: the norm that it went through before it was added.
        altered: what else was done to it before it was added, in words.
    """

    call: Call
    value: Value
    norm: Call | None = None
    altered: str | None = None


@dataclass(eq=False)
class Stream:
    """One call of a block: what it is given and returns, and what it adds in between, earliest first.

    Attributes:
        lost: how many sums have an operand that no module returned.
    """

    call: Call
    given: Value
    returned: Value
    added: list[Added] = field(default_factory=list)
    lost: int = 0

    @classmethod
    def through(cls, trial: Trial, call: Call, width: int) -> Stream | None:
        """None where the call does not add to what it is given."""
        given, returned = call.rows(call.inputs, width), call.rows(call.outputs, width)
        if given is None or returned is None or given.key is None or returned.key is None or given.key == returned.key:
            return None
        stream = cls(call, given, returned)
        path = _path(trial, returned.key, given.key, call)
        if path is None:
            return None
        inside = trial.inside(call)
        for key in path:
            leaf = _followed(trial, key, inside, call)
            if leaf:
                stream.added += leaf
            else:
                stream.lost += 1
        if not stream.added:
            return None
        stream.added.sort(key=lambda added: added.call.end)
        return stream


def _path(trial: Trial, key: Key, goal: Key, block: Call) -> list[Key] | None:
    """What is added to `goal` to make `key`; None where it is not made from it by sums, norms and factors."""
    return _back(trial, key, goal, block, {})


def _back(
    trial: Trial, key: Key | None, goal: Key, block: Call, known: dict[Key, list[Key] | None]
) -> list[Key] | None:
    if key is None:
        return None
    if key == goal:
        return []
    if key in known:
        return known[key]
    known[key] = None
    made = _made(trial, key, block)
    if made is None:
        return None
    ways = [(operand, _back(trial, operand, goal, block, known)) for operand in made.whole]
    through = [(operand, way) for operand, way in ways if way is not None]
    if not through:
        return None
    # A stream that is scaled or normed and added to itself comes through both operands: the shorter way is the stream's.
    operand, way = min(through, key=lambda item: len(item[1]))
    others = [other for other in made.whole if other is not operand and other is not None] if made.kind == "sum" else []
    known[key] = [*way, *others]
    return known[key]


def _made(trial: Trial, key: Key, block: Call) -> Made | None:
    made = trial.made.get(key)
    return made if made is not None and block.start < made.time < block.end else None


def _followed(trial: Trial, key: Key, inside: list[Call], block: Call) -> list[Added]:
    """The outputs of modules that make up something added; empty where one is not the output of a module."""
    norm, altered = None, None
    for _ in range(len(TOKENS)):
        for call in inside:  # outermost first
            value = next((value for value in call.outputs if value.key == key), None)
            if value is not None and not is_norm(call):
                return [Added(call, value, norm, altered)]
        made = _made(trial, key, block)
        if made is None:
            return []
        if made.kind == "sum":
            if len(made.whole) == 1 and made.whole[0] is not None:
                key, altered = made.whole[0], "with a bias added to it"
                continue
            parts = [_followed(trial, part, inside, block) for part in made.whole if part is not None]
            return [added for part in parts for added in part] if all(parts) and len(parts) > 1 else []
        if len(made.whole) != 1 or made.whole[0] is None:
            return []
        norm, altered = (made.by or norm), "multiplied by a factor" if made.kind == "product" else altered
        key = made.whole[0]
    return []


def places_of_block(trial: Trial, stream: Stream, width: int) -> dict[str, Found]:
    """What one call of a block has."""
    per_layer = [name for name, component in COMPONENTS.items() if component.per_layer]
    places: dict[str, Found] = dict.fromkeys(per_layer, NO_STREAM)
    attention, mlps, unsure = _sorted_out(trial, stream)
    untold = NO_STREAM if stream.lost else f"the block adds {_named(stream, unsure)}: what that is could not be told"
    aside = _aside(trial, stream)
    known = not unsure and not stream.lost
    no_attention = NOT_ADDED if any(call.attended for call in aside) else NO_ATTENTION
    no_mlp = NOT_ADDED if any(FEEDS_FORWARD.search(call.name.rpartition(".")[2]) for call in aside) else NO_MLP
    places |= _attention(trial, stream, attention, no_attention if known else untold)
    places |= _mlp(trial, stream, mlps, attention, width, no_mlp if known else untold)
    return places | {"residual": taken(trial, stream.call, stream.returned)}


def _sorted_out(trial: Trial, stream: Stream) -> tuple[list[Added], list[Added], list[Added]]:
    """What comes from attention or another mixer of tokens, what from MLPs, and what cannot be told."""
    attention: list[Added] = []
    mlps: list[Added] = []
    unsure: list[Added] = []
    for added in stream.added:
        within = [added.call, *trial.inside(added.call)]
        path = added.call.name.removeprefix(stream.call.name).lstrip(".")
        kind = type(added.call.module).__name__
        if any(call.attended for call in within):
            attention.append(added)
        elif FEEDS_FORWARD.search(path):
            mlps.append(added)
        elif MIXES_TOKENS.search(path) or MIXES_TOKENS.search(kind):
            attention.append(added)
        elif FEEDS_FORWARD.search(kind):
            mlps.append(added)
        else:
            unsure.append(added)
    # A projection without a module around it: after the attention it is the MLP's.
    if len(unsure) == 1 and attention and not mlps and unsure[0].call.start > attention[-1].call.end:
        mlps, unsure = unsure, []
    return attention, mlps, unsure


def _aside(trial: Trial, stream: Stream) -> list[Call]:
    """What runs in a block outside of the modules whose outputs it adds."""
    calls = trial.inside(stream.call)
    return [call for call in calls if not any(call is one.call or call.within(one.call) for one in stream.added)]


def _named(stream: Stream, added: list[Added]) -> str:
    return ", ".join(one.call.name.removeprefix(stream.call.name).lstrip(".") for one in added)


def _several(stream: Stream, found: list[Added]) -> str:
    return f"the block adds {len(found)} of them: {_named(stream, found)}"


def _attention(trial: Trial, stream: Stream, found: list[Added], none: str) -> dict[str, Found]:
    names = [name for name in COMPONENTS if name.startswith("attention_")] + ["query", "key", "value"]
    if len(found) != 1:
        whole: dict[str, Found] = dict.fromkeys(names, _several(stream, found) if found else none)
        return {**whole, **_cache(trial, trial.inside(stream.call))} if found else {**whole}
    (added,) = found
    places: dict[str, Found] = {"attention_output": taken(trial, added.call, added.value)}
    places["attention_update"] = _update(trial, added, NO_NORM_AFTER_ATTENTION, "attention_output")
    before = [call for call in trial.inside(stream.call) if call.start <= added.call.end]
    within = [call for call in before if call is added.call or call.within(added.call)]
    # Where the attention's own output is that of a bare projection, the other projections are before it.
    linears = linear_calls(within) if len(within) > 1 else linear_calls(before)
    last = next((call for call in linears if call.outputs[0].key == added.value.key), None)
    first = linears[0] if linears else None
    missing = "no output projection returns what the attention returns"
    places["attention_context"] = missing if last is None else taken(trial, last, last.inputs[0])
    begins = "its first projection has not one row for each token"
    places["attention_input"] = begins
    if first is not None and first is not last and first.rows(first.inputs, first.inputs[0].width) is not None:
        places["attention_input"] = taken(trial, first, first.inputs[0])
    return places | _cache(trial, within if len(within) > 1 else before)


def _cache(trial: Trial, calls: list[Call]) -> dict[str, Found]:
    """Queries, keys and values, where attention is computed once, by transformers' functions, over the tokens."""
    attended = [call for call in calls if call.attended]
    reason = None
    if not attended:
        recurrent = any(KEEPS_NO_KEYS.search(f"{call.name} {type(call.module).__name__}") for call in calls)
        reason = NO_CACHE if recurrent else OWN_ATTENTION
    elif len(attended) > 1 or len(attended[0].attended) > 1:
        reason = "the attention functions are called several times in a block"
    places: dict[str, Found] = {}
    for name in ("query", "key", "value"):
        if reason is not None:
            places[name] = reason
            continue
        call = attended[0]
        x = call.attended[0][name]
        if x.dim() != 4 or x.shape[0] != 1 or x.shape[2] != len(TOKENS):
            places[name] = f"the attention function is given {tuple(x.shape)} for {len(TOKENS)} tokens"
            continue
        several = {"call": call.number, "decoder": trial.decoder} if trial.times(call.module) > 1 else {}
        places[name] = Place(call.module, inside=name, **several)
    return places


def _update(trial: Trial, added: Added, none: str, output: str) -> Found:
    if added.norm is not None and added.altered is None:
        return taken(trial, added.norm, added.norm.outputs[0])
    return f"what is added is {output}, {added.altered}" if added.altered else none


def _mlp(
    trial: Trial, stream: Stream, found: list[Added], attention: list[Added], width: int, none: str
) -> dict[str, Found]:
    names = [
        "mlp_input",
        "router_logits",
        "gate",
        "expert_gate",
        "down_input",
        "expert_down_input",
        "mlp_output",
        "mlp_update",
    ]
    if len(found) != 1:
        whole: dict[str, Found] = dict.fromkeys(names, _several(stream, found) if found else none)
        return whole | _beside(trial, found, width)
    (added,) = found
    places: dict[str, Found] = {"mlp_output": taken(trial, added.call, added.value)}
    places["mlp_update"] = _update(trial, added, NO_NORM_AFTER_MLP, "mlp_output")
    within = trial.inside(added.call)
    if not within:  # a bare projection: its MLP is what ran since the attention
        since = attention[-1].call.end if attention else stream.call.start
        within = [call for call in trial.inside(stream.call) if since < call.start <= added.call.start]
        first = next(iter(linear_calls(within)), None)
        entered = None if first is None or first is added.call else (first, first.inputs[0])
    else:
        given = added.call.rows(added.call.inputs, width)
        entered = None if given is None else (added.call, given)
    outside = "the MLP is not given one row of hidden states for each token"
    places["mlp_input"] = outside if entered is None else taken(trial, *entered)
    return places | mlp_inside(trial, within, added.value.key)


def _beside(trial: Trial, found: list[Added], width: int) -> dict[str, Found]:
    """Routed experts and a dense MLP that are given the same, as with a shared expert, but are added one by one."""
    given = [added.call.rows(added.call.inputs, width) for added in found]
    if len(found) != 2 or given[0] is None or given[1] is None or given[0].key != given[1].key:
        return {}
    within = sorted((call for added in found for call in trial.inside(added.call)), key=lambda call: call.start)
    inside = mlp_inside(trial, within, None)
    return {} if CHOSEN not in inside else {"mlp_input": taken(trial, found[0].call, given[0]), **inside}
