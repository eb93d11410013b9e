"""Write a planted checkpoint into a folder."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from maxact.checkpoints.planted.gadgets import Architecture, plant
from maxact.checkpoints.planted.registry import PLANTED
from maxact.errors import UserError

if TYPE_CHECKING:
    from maxact.study import Peak


def build(
    model_type: str, layers: int, seed: int, peak: Peak, token_id: int, vocabulary: int, context: int, folder: Path
) -> None:
    """A seeded bfloat16 checkpoint of `layers` blocks with `peak` at token `token_id`; config.json and safetensors.

    The same arguments give the same bytes.

    Raises:
        UserError: nothing plants into that architecture, or the peak cannot be exact.
    """
    if model_type not in PLANTED:
        raise UserError(f"model_type {model_type!r}: nothing plants into it; known: {', '.join(PLANTED)}")
    if token_id >= vocabulary:
        raise UserError(f"marker.token_id: {token_id} is not in the vocabulary of {vocabulary}")
    architecture: Architecture = importlib.import_module(PLANTED[model_type]).ARCHITECTURE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture.make(layers, vocabulary, context).to(torch.bfloat16).eval()
    plant(model, peak, token_id, architecture)
    model.save_pretrained(folder)
