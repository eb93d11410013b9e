"""GGUF in one wheel, or in several with a part of the file in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maxact.checkpoints.gguf import ancestry, convert
from maxact.store.job import Job
from maxact.study import Wheel, WheelMember
from maxact.wheels import joined_path, licence_of, member_path


def take(job: Job, source: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The checkpoint, dequantized to bfloat16 where it was quantized."""
    if source["kind"] == "gguf_wheel":
        wheel = Wheel(**source["wheel"])
        file, licence = member_path(wheel, source["member"]), licence_of(wheel)
        named = f"{wheel.package} {wheel.version}, {source['member']}"
    else:
        parts = [WheelMember(wheel=Wheel(**part["wheel"]), member=part["member"]) for part in source["parts"]]
        file, licence = joined_path(parts, source["sha256"], f"{job.name}.gguf"), source["licence"]
        named = f"{parts[0].wheel.package} {parts[0].wheel.version} and {len(parts) - 1} more"
    folder = job.scratch / "checkpoint"
    convert(file, folder)
    return folder, {"planted": False, "ancestry": ancestry(file), "licence": licence, "source": named}
