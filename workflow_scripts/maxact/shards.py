"""One measurement in shards, on one machine or several, and what joins them."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maxact.checkpoints.folder import folder_digest, read_config
from maxact.errors import UserError
from maxact.measure.parts import Part, read_part
from maxact.measure.tables import tables
from maxact.measurement import Measurement
from maxact.sites.find import Site
from maxact.sites.registry import adapter_of
from maxact.store.code import code_digest


@dataclass(frozen=True)
class Shard:
    """The `number`th of `shards` shards, counted from 1: every sample whose number leaves that rest."""

    number: int
    shards: int

    @staticmethod
    def parse(text: str) -> Shard:
        """From text such as "2/3".

        Raises:
            UserError: it is none.
        """
        match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
        if match is None or int(match[1]) > int(match[2]):
            raise UserError(f"--shard {text}: give K/N, such as 2/3, with K from 1 to N")
        return Shard(int(match[1]), int(match[2]))

    def of(self, samples: int) -> range:
        """The numbers of the samples that are in it.

        Raises:
            UserError: there are none.
        """
        chosen = range(self.number - 1, samples, self.shards)
        if not chosen:
            raise UserError(f"shard {self.number}/{self.shards}: has none of {samples} samples; make fewer shards")
        return chosen


def deciding(name: str, folder: Path, attention: str, device: str, samples: int) -> dict[str, Any]:
    """What shards must have in common, beside sites, dtype and the samples themselves."""
    model_type = read_config(folder)["model_type"]
    return {
        "checkpoint": name,
        "weights": folder_digest(folder),
        "attention": attention,
        "device": device,
        "number of samples": samples,
        "code": code_digest(["maxact.measure.run", adapter_of(model_type)]),
        **{package: importlib.metadata.version(package).partition("+")[0] for package in ("torch", "transformers")},
    }


def merge_shards(files: Sequence[Path]) -> tuple[str, Part]:
    """The checkpoint's name, and all shards in one.

    Raises:
        UserError: a file is no shard, they are of different measurements, or some are missing.
    """
    part: Part | None = None
    for file in files:
        read = read_part(file)
        if "number of samples" not in read.about:
            raise UserError(f"{file}: not a shard; give what `maxact measure --shard` has written")
        if part is None:
            part = read
        else:
            try:
                part.merge(read)
            except UserError as error:
                raise UserError(f"{file}: {error}") from None
    assert part is not None
    missing = sorted({*range(part.about["number of samples"])} - {*part.samples})
    if missing:
        raise UserError(f"shards: {len(missing)} samples are in none of them, such as {missing[0]}; give all shards")
    return part.about["checkpoint"], part


def tables_of(part: Part) -> Measurement:
    """The measurement that a part is, without the model."""
    told = enumerate(part.about["sites"])
    sites = [Site(number, component, layer, None, reason) for number, (component, layer, reason) in told]
    return tables(sites, part.states, part.vocabulary, part.expert_tokens)
