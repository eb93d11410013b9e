"""The sections about what jobs need. They decide no result, and are in no recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from maxact.study.sections import Positive, Section

Gigabytes = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Of 10^9 bytes."""


class Overrides(Section):
    """What the jobs that open one checkpoint need, where the estimate of `maxact/needs` is not good enough."""

    gpus: Positive | None = None
    """Devices of one job where `measure.device` is cuda, over which its layers are spread."""
    gpu_memory_gb: Gigabytes | None = None
    """Of each device that such a job gets, in place of that of all others."""
    memory_gb: Gigabytes | None = None
    minutes: Positive | None = None
    """At most so long."""
    disk_gb: Gigabytes | None = None
    """For the weights: of the job that puts them into the store."""


class Unknown(Section):
    """What jobs of a checkpoint are given of which nothing is known yet, as it is not pinned or was not taken."""

    gpus: Positive = 1
    memory_gb: Gigabytes = 64.0
    minutes: Positive = 1440
    disk_gb: Gigabytes = 100.0


class Resources(Section):
    """What the machines have that the study runs on."""

    gpu_memory_gb: Gigabytes = 80.0
    """Of one device."""
    most_minutes: Positive | None = None
    """No job asks for more, as often as it is tried: the limit of a partition. A measurement that is ended goes on."""
    most_memory_gb: Gigabytes | None = None
    """No job asks for more, as often as it is tried: what a node has."""
    unknown: Unknown = Unknown()
