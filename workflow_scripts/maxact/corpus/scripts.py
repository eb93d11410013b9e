"""The script of a text: that of most of its letters, by Unicode's property of the same name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fontTools.unicodedata import script

LETTERS = 20_000
"""Characters that are looked at, from the start."""
UNKNOWN = "Zyyy"
"""ISO 15924 for a text without letters of any one script."""


def script_of(text: str) -> str:
    """ISO 15924. Chinese characters among a tenth or more of kana are Japanese (`Jpan`), of hangul Korean (`Kore`)."""
    counts: Counter[str] = Counter(script(character) for character in text[:LETTERS] if character.isalpha())
    for shared in ("Zyyy", "Zinh", "Zzzz"):
        counts.pop(shared, None)
    for parts, whole in ((("Hira", "Kana"), "Jpan"), (("Hang",), "Kore")):
        own = sum(counts[part] for part in parts)
        if own and 10 * own >= own + counts["Hani"]:
            counts[whole] = own + counts.pop("Hani", 0)
            for part in parts:
                counts.pop(part, None)
    if not counts:
        return UNKNOWN
    return min(counts, key=lambda name: (-counts[name], name))


def meets(found: str, wanted: Sequence[str]) -> bool:
    """Whether a script is one of those wanted, and none of those wanted with `not`."""
    excluded = [rule.removeprefix("not ") for rule in wanted if rule.startswith("not ")]
    included = [rule for rule in wanted if not rule.startswith("not ")]
    return found not in excluded and (not included or found in included)
