"""What pydantic finds wrong with a study, in one line that a user can act on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError


def meant(word: str, known: Iterable[Any]) -> str:
    """A question to add to an error about an unknown word, or nothing where no known word is like it."""
    close = get_close_matches(word, [str(name) for name in known], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _known_keys(study: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys of the section at `location`, found by walking the models; empty where the walk ends in a mapping."""
    model: Any = study
    for part in location:
        fields = getattr(model, "model_fields", None)
        if fields is None:
            return []
        if isinstance(part, int) or part not in fields:
            continue
        nested = _sections(fields[part].annotation)
        model = nested[0] if len(nested) == 1 else {_tag(section): section for section in nested}
        if isinstance(model, dict):
            after = location[location.index(part) + 1 :]
            model = model.get(str(after[0])) if after else None
    return list(getattr(model, "model_fields", {}))


def _sections(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in getattr(annotation, "__args__", ()) for section in _sections(argument)]


def _tag(section: Any) -> str:
    """What tells a section from others that may stand in its place: the one value of its `kind` or `recipe`."""
    return next(
        str(section.model_fields[key].annotation.__args__[0])
        for key in ("kind", "recipe")
        if key in section.model_fields
    )


TAGS = (
    *("gguf_wheel", "gguf_parts", "folder", "planted", "hub", "files", "trained"),
    *("packaged_text", "sampled_dataset", "ready_dataset"),
)
"""Which of several sections pydantic took something for: no part of the key that a user wrote."""


def one_line(error: ValidationError, study: type[BaseModel]) -> str:
    """The first mistake of a study: key, reason, and how many more there are."""
    first = error.errors()[0]
    location = tuple(part for part in first["loc"] if part not in TAGS)
    key = re.sub(r"\.\[", "[", ".".join(f"[{part}]" if isinstance(part, int) else str(part) for part in location))
    if first["type"] == "extra_forbidden":
        reason = f"unknown key{meant(str(first['loc'][-1]), _known_keys(study, first['loc'][:-1]))}"
    elif first["type"] == "missing":
        reason = "missing"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        if not isinstance(first["input"], Mapping | list) and "Value error" not in first["msg"]:
            reason += f", not {first['input']!r}"
    more = len(error.errors()) - 1
    return f"{key}: {reason}" * bool(key) + reason * (not key) + (f" (and {more} more)" if more else "")
