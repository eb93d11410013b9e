"""How families are shown: one colour each in every figure, and shades of it for several members of one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from matplotlib.colors import to_hex, to_rgb

FAMILIES: dict[str, str] = {
    "qwen2": "#4292C6",
    "qwen2.5": "#0072B2",
    "qwen2.5-vl": "#6A51A3",
    "qwen3": "#56B4E9",
    "qwen3-moe": "#08306B",
    "qwen3.5": "#009E73",
    "qwen3.5-moe": "#00441B",
    "gemma": "#B8860B",
    "gemma2": "#E69F00",
    "gemma3": "#D55E00",
    "ling": "#CC79A7",
    "gpt-oss": "#000000",
}
"""sRGB by family as the paper's study names them: the palette of Okabe and Ito, and beyond it a shade of a related one."""

_OTHERS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A51A3")
_LIGHTEST = 0.6


def family_color(family: str) -> str:
    """The colour of a family; a planted one has that of the family that it stands for.

    A family that the legend has not takes a colour by its name, which another may have too.
    """
    known = FAMILIES.get(family.removeprefix("planted-"))
    return known or _OTHERS[zlib.crc32(family.encode()) % len(_OTHERS)]


def member_colors(families: Sequence[str]) -> list[str]:
    """A colour for each member of a group, given their families: several of one have shades of it, the first the darkest."""
    found = []
    for at, family in enumerate(families):
        share = families[:at].count(family) / max(1, families.count(family) - 1) * _LIGHTEST
        red, green, blue = (part + (1 - part) * share for part in to_rgb(family_color(family)))
        found.append(to_hex((red, green, blue)))
    return found
