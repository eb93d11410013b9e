"""What a checkpoint is, from its configuration and the headers of its weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import AutoConfig

from maxact.checkpoints.folder import TOKENIZER_FILES
from maxact.errors import UserError


def described(name: str, folder: Path, files: dict[str, Path]) -> dict[str, Any]:
    """Sizes as transformers understands config.json, which may leave defaults out; of a wrapper, its text decoder's.

    Raises:
        UserError: transformers cannot read config.json, or it lacks a size.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers has no common class for what it finds wrong
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"checkpoint {name}: transformers cannot read config.json ({reason})") from None
    text = config.get_text_config()
    missing = [size for size in ("num_hidden_layers", "hidden_size", "vocab_size") if not hasattr(text, size)]
    if missing:
        raise UserError(f"checkpoint {name}: config.json does not say {', '.join(missing)}; add it")
    weights = [file for name, file in files.items() if name.endswith(".safetensors")]
    return {
        "model_type": config.model_type,
        "layers": text.num_hidden_layers,
        "hidden_size": text.hidden_size,
        "vocab_size": text.vocab_size,
        "context": getattr(text, "max_position_embeddings", None),  # of Mamba and ALiBi models there is none
        "parameters": sum(_parameters(file) for file in weights),
        "has_tokenizer": all(name in files for name in TOKENIZER_FILES),
    }


def _parameters(file: Path) -> int:
    """Elements of all tensors in a safetensors file, from its header.

    A byte of MXFP4 holds two elements; its scales are no parameters (OCP Microscaling Formats 1.0).
    """
    total = 0
    with safe_open(file, framework="numpy") as archive:
        for name in archive.keys():  # noqa: SIM118
            elements = math.prod(archive.get_slice(name).get_shape())
            packed = archive.get_slice(name).get_dtype() == "U8"
            if packed and name.endswith("_scales"):
                continue
            total += 2 * elements if packed and name.endswith("_blocks") else elements
    return total
