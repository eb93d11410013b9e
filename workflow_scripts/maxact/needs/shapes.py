"""How large a checkpoint is, without its weights: from a configuration and the headers of safetensors files.

The configuration is that of a pin in the lock file, of a folder, or of a checkpoint that the store has already. Nothing here
reads a tensor, imports transformers or asks a hub.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maxact.checkpoints.folder import MAXIMUM_HEADER
from maxact.checkpoints.planted.registry import PLANTED
from maxact.errors import UserError
from maxact.store.objects import Manifest, Store
from maxact.study import Checkpoint, Folder, Hub, Planted, Study
from maxact.study.shape import Shape

NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head"),
    "key_value_heads": ("num_key_value_heads",),
    "head_size": ("head_dim",),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "d_ff"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "experts_per_token": ("num_experts_per_tok", "experts_per_token", "num_experts_per_token"),
    "expert_size": ("moe_intermediate_size",),
    "shared_size": ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"),
    "vocabulary": ("vocab_size",),
}
"""What configurations of transformers call it; the first that is there counts."""

PLANTED_SHAPE = {
    "hidden_size": 64, "heads": 4, "key_value_heads": 4, "head_size": 16, "intermediate_size": 128,
    "experts": 0, "experts_per_token": 0, "expert_size": 0,
}  # fmt: skip
"""No planted architecture is larger in any of them, but for its layers and vocabulary, which the study says."""

PLANTED_VOCABULARY = 16384
"""In place of that of a tokenizer that is not trained yet: a trained one has some thousands."""

TOLD = ("layers", "hidden_size", "heads", "vocabulary")
"""Without them a configuration says nothing."""


def shape_of(config: Mapping[str, Any], parameters: int) -> Shape | None:
    """The shape that a config.json describes, of a wrapper that of its text decoder; None where it lacks what counts.

    Args:
        config: as it was read.
        parameters: elements of all stored tensors.
    """
    text = config.get("text_config")
    text = {**config, **text} if isinstance(text, dict) else config
    found: dict[str, int] = {}
    for field, names in NAMES.items():
        values = (text.get(name) for name in names)
        found[field] = next((value for value in values if isinstance(value, int) and value > 0), 0)
    if parameters <= 0 or not all(found[field] for field in TOLD):
        return None
    found["key_value_heads"] = found["key_value_heads"] or found["heads"]
    found["head_size"] = found["head_size"] or max(1, found["hidden_size"] // found["heads"])
    found["intermediate_size"] = found["intermediate_size"] or 4 * found["hidden_size"]
    shared = found.pop("shared_size")
    if found["experts"] and found["experts_per_token"]:
        found["expert_size"] = found["expert_size"] or found["intermediate_size"]
        found["intermediate_size"] = shared
    else:
        found["experts"] = found["experts_per_token"] = found["expert_size"] = 0
    return Shape(parameters=parameters, **found)


def elements(header: Mapping[str, Any]) -> int:
    """Parameters in a safetensors file, from its header.

    A byte of MXFP4 holds two elements; its scales are no parameters (OCP Microscaling Formats 1.0).
    """
    total = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        packed = entry["dtype"] == "U8"
        if packed and name.endswith("_scales"):
            continue
        total += math.prod(entry["shape"]) * (2 if packed and name.endswith("_blocks") else 1)
    return total


def shape_of_checkpoint(study: Study, checkpoint: Checkpoint, store: Path) -> Shape | None:
    """The shape of a checkpoint, or None where nothing tells it yet.

    Args:
        store: the folder of artifacts, which may have it; it need not exist.
    """
    source = checkpoint.source
    if isinstance(source, Planted):
        return _planted(study, checkpoint, source)
    if isinstance(source, Hub) and source.pin is not None and source.pin.shape is not None:
        return source.pin.shape
    if isinstance(source, Folder) and (found := _in_folder(Path(source.path))) is not None:
        return found
    return _in_store(store, study.study, checkpoint.name)


def _planted(study: Study, checkpoint: Checkpoint, source: Planted) -> Shape:
    family = study.families[checkpoint.family]
    tokenizer = study.tokenizers.get(family.tokenizer)
    vocabulary = getattr(tokenizer, "vocabulary", PLANTED_VOCABULARY)
    moe = {"experts": 8, "experts_per_token": 4, "expert_size": 128} if _routes(family.model_type) else {}
    width = PLANTED_SHAPE["hidden_size"]
    parameters = 2 * vocabulary * width + source.layers * 16 * width * width
    return Shape(parameters=parameters, layers=source.layers, vocabulary=vocabulary, **{**PLANTED_SHAPE, **moe})


def _routes(model_type: str) -> bool:
    return "moe" in model_type or PLANTED.get(model_type, "").endswith("gpt_oss")


def _in_folder(folder: Path) -> Shape | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return shape_of(config, sum(map(elements, _headers(sorted(folder.glob("*.safetensors"))))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None  # the job that reads it says what is wrong


def _headers(files: Iterable[Path]) -> Iterable[dict[str, Any]]:
    for file in files:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            yield json.loads(stream.read(min(length, MAXIMUM_HEADER)))


def _in_store(root: Path, study: str, name: str) -> Shape | None:
    """Of a checkpoint whose weights have been taken, whether or not they are kept."""
    try:
        manifest = Manifest.read(root / study / "checkpoint" / f"{name}.json")
        config = json.loads(Store(root).path(manifest.objects["config.json"]).read_text(encoding="utf-8"))
        return shape_of(config, manifest.summary["parameters"])
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
