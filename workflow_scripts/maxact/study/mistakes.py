"""What pydantic finds wrong with a study, in one line that a user can act on: all of it, not one mistake a try."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


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


MOST_TOLD = 8
"""How many mistakes are told at once; more make a line that nobody reads."""


def one_line(error: ValidationError, study: type[BaseModel]) -> str:
    """The mistakes of a study, each with its key and reason, and how many more there are than are told."""
    told = [_told(mistake, study) for mistake in error.errors()]
    more = len(told) - MOST_TOLD
    return "; ".join(told[:MOST_TOLD]) + (f" (and {more} more)" if more > 0 else "")


def _told(mistake: ErrorDetails, study: type[BaseModel]) -> str:
    location = tuple(part for part in mistake["loc"] if part not in TAGS)
    key = re.sub(r"\.\[", "[", ".".join(f"[{part}]" if isinstance(part, int) else str(part) for part in location))
    if mistake["type"] == "extra_forbidden":
        reason = f"unknown key{meant(str(mistake['loc'][-1]), _known_keys(study, mistake['loc'][:-1]))}"
    elif mistake["type"] == "missing":
        reason = "missing"
    elif mistake["type"] == "union_tag_not_found":
        reason = f"{mistake['ctx']['discriminator'].strip(chr(39))} is missing, which says what it is"
    elif mistake["type"] == "union_tag_invalid":
        context = mistake["ctx"]
        known = context["expected_tags"].replace("'", "").split(", ")
        reason = f"{context['discriminator'].strip(chr(39))} is {context['tag']!r}, which is none of {', '.join(known)}"
        reason += meant(context["tag"], known)
    else:
        reason = mistake["msg"].removeprefix("Value error, ")
        if not isinstance(mistake["input"], Mapping | list) and "Value error" not in mistake["msg"]:
            reason += f", not {mistake['input']!r}"
    return f"{key}: {reason}" if key else reason
