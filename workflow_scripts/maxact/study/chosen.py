"""What sections choose from: checkpoints of the study, number formats; each known, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from maxact.errors import UserError
from maxact.quantize.formats import FORMATS, Format, known_formats
from maxact.study.mistakes import meant

if TYPE_CHECKING:
    from maxact.study import PublishedStudy, Study

Item = TypeVar("Item", str, int, float)


def once(given: list[Item], what: str) -> list[Item]:
    """`given`, in which nothing stands twice.

    Raises:
        ValueError: something does.
    """
    if len(set(given)) < len(given):
        raise ValueError(f"{what} is named twice")
    return given


def formats_once(given: list[str], refusal: Callable[[Format], str | None]) -> list[str]:
    """`given`, if all are number formats that the section can have, each once.

    Args:
        refusal: why the section cannot have a format, after its name; None where it can.

    Raises:
        ValueError: one is unknown or refused, or stands twice.
    """
    for name in given:
        if name not in FORMATS:
            raise ValueError(f"unknown format {name!r}{meant(name, FORMATS)}; known: {known_formats()}")
        if (reason := refusal(FORMATS[name])) is not None:
            raise ValueError(f"{name} {reason}; leave it out")
    return once(given, "a format")


def refuse_unknown_checkpoint(name: str, study: Study | PublishedStudy) -> None:
    """Refuse a checkpoint that a user named and the study has not.

    Raises:
        UserError: says which one may be meant.
    """
    known = [checkpoint.name for checkpoint in study.checkpoints]
    if name not in known:
        hint = meant(name, known) or f"; it has {', '.join(known)}"
        raise UserError(f"{name}: not a checkpoint of the study {study.study!r}{hint}")


def check_checkpoints(section: str, chosen: Sequence[str], study: Study, real: bool = False) -> None:
    """Whether what `checkpoints` of a section names are checkpoints of the study, each once.

    Args:
        real: whether planted ones are refused, of which the section would say nothing about a model.

    Raises:
        ValueError: the first that is not, with its key.
    """
    planted = {checkpoint.name: checkpoint.planted for checkpoint in study.checkpoints}
    for index, name in enumerate(chosen):
        at = f"{section}.checkpoints[{index}]"
        if name not in planted:
            raise ValueError(f"{at}: no checkpoint is named {name!r}{meant(name, planted)}")
        if real and planted[name]:
            others = ", ".join(other for other in planted if not planted[other]) or "the study has none"
            raise ValueError(f"{at}: {name!r} is planted, and means nothing here; name real checkpoints: {others}")
        if name in chosen[:index]:
            raise ValueError(f"{at}: {name!r} is named twice")
