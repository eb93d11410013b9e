"""How families are shown: one colour each in every figure, and shades of it for several members of one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

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
_FARTHEST = 0.6
_DARK = 0.06
"""Relative luminance below which shades go towards white, not black, so that each is seen on white."""

DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1.5, 1)), (0, (6, 1, 1.5, 1)))
"""Lines of the members of a group, so that one shows under another, and in grey."""


def family_color(family: str) -> str:
    """The colour of a family; a planted one has that of the family that it stands for.

    A family that the legend has not takes a colour by its name, which another may have too.
    """
    known = FAMILIES.get(family.removeprefix("planted-"))
    return known or _OTHERS[zlib.crc32(family.encode()) % len(_OTHERS)]


def member_colors(families: Sequence[str]) -> list[str]:
    """A colour for each member of a group, given their families: several of one have shades of it, the first its own."""
    found = []
    for at, family in enumerate(families):
        own = to_rgb(family_color(family))
        towards = 1.0 if _luminance(own) < _DARK else 0.0
        share = families[:at].count(family) / max(1, families.count(family) - 1) * _FARTHEST
        red, green, blue = (part + (towards - part) * share for part in own)
        found.append(to_hex((red, green, blue)))
    return found


def _luminance(color: Sequence[float]) -> float:
    """Relative luminance of sRGB (WCAG 2), from 0, black, to 1."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
