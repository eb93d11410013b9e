"""Which linear layers the sites of a checkpoint feed, and what these are called in it; from config.json alone.

Seven tokens are passed through the architecture with made-up weights (`skeleton.py`). The layers that a site feeds are the
`nn.Linear` that are given the very tensor that is taken there (`traced.py`): what goes into a layer after a copy or a cast
is not found, and is listed as not found. A router's own matrix is none of them, since it is left in full precision.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from maxact.errors import UserError
from maxact.quantize.skeleton import Names, skeleton
from maxact.quantize.tensors import LINEAR_INPUTS
from maxact.quantize.traced import Traced
from maxact.sites.find import Site, decoder_of, find_sites

CACHED = {"key": "k_scale", "value": "v_scale"}
COMPRESSED = "its attention caches keys and values compressed into one, not as they are measured"


@dataclass(frozen=True)
class Fed:
    """What a site feeds; names are those of the checkpoint.

    Attributes:
        modules: the linear layers that are given it; of a key or value, the attention module.
        width: channels that the layers are given; None of a key or value.
        norm: the norm that returns it, if one does.
        others: what else takes it: no reason against a scale, but one against smoothing.
        reason: why nothing is known to be fed.
    """

    component: str
    layer: int | None
    modules: tuple[str, ...] = ()
    width: int | None = None
    norm: str | None = None
    others: tuple[str, ...] = ()
    reason: str | None = None


def wiring(folder: Path, tensors: Collection[str]) -> list[Fed]:
    """Every site of `LINEAR_INPUTS` and `CACHED`, in forward order.

    Args:
        folder: has config.json.
        tensors: the names of all tensors of the checkpoint.

    Raises:
        UserError: transformers cannot build the model or run it on seven tokens, or no adapter knows where to look.
    """
    try:
        model = skeleton(folder)
        decoder = decoder_of(model)
        sites = find_sites(decoder, {*LINEAR_INPUTS, *CACHED, "router_logits"})
        traced = Traced(decoder, [site for site in sites if site.component in LINEAR_INPUTS])
    except UserError:
        raise
    except Exception as error:  # transformers has no common class for what it cannot do
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{folder / 'config.json'}: what its sites feed cannot be found ({told})") from None
    names = Names(model, tensors)
    routers = [site.place.module for site in sites if site.component == "router_logits" and site.place]
    compressed = getattr(decoder.config, "kv_lora_rank", None) is not None
    found = []
    for site in sites:
        if site.place is None and site.component != "router_logits":
            found.append(_unknown(site, f"not applicable: {site.reason}"))
        elif site.component in CACHED:
            found.append(_unknown(site, COMPRESSED) if compressed else _cached(site, names))
        elif site.component in LINEAR_INPUTS:
            found.append(_fed(site, traced, names, routers))
    return found


def _unknown(site: Site, reason: str) -> Fed:
    return Fed(site.component, site.layer, reason=reason)


def _cached(site: Site, names: Names) -> Fed:
    assert site.place is not None
    attention = names.around(site.place.module)
    return _unknown(site, attention.reason) if attention.reason else Fed(site.component, site.layer, attention.names)


def _fed(site: Site, traced: Traced, names: Names, routers: list[nn.Module]) -> Fed:
    taken = traced.seen.get(site.number, [])
    if len(taken) != 1:
        return _unknown(site, f"a pass of seven tokens comes there {len(taken)} times")
    receivers = traced.receivers(taken[0])
    linears = [module for module in receivers if isinstance(module, nn.Linear) and module not in routers]
    others = [names.told(module) for module in receivers if module not in linears]
    if not linears:
        instead = f" (it goes to {'; '.join(others)})" if others else ""
        return _unknown(site, f"no nn.Linear is given this tensor as it is{instead}")
    named = [names.of(module) for module in linears]
    several = [
        f"{names.told(module)} runs several times in a pass" for module in linears if traced.times[id(module)] > 1
    ]
    missing = [name.reason for name in named if name.reason]
    if several or missing:
        return _unknown(site, (several + missing)[0])
    norm = traced.norm(taken[0])
    return Fed(
        site.component,
        site.layer,
        modules=tuple(name for one in named for name in one.names),
        width=linears[0].in_features,
        norm=None if norm is None else next(iter(names.of(norm).names), None),
        others=(*others, *traced.arithmetic(taken[0])),
    )
