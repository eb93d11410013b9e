"""A checkpoint's architecture without its weights, and what its modules are called in the checkpoint.

The model is built on the meta device from config.json. Its matrices are then views of one small pool of random numbers, so
that a model of any size can be run on a few tokens; all else is as its class begins with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

POOL = 1 << 26
"""Numbers in the pool, at most. Of a larger matrix the rows overlap."""


def skeleton(folder: Path) -> Any:
    """The model of the folder's config.json with made-up weights in bfloat16, in evaluation mode.

    Raises:
        Exception: whatever transformers raises where it cannot build it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.utils import logging

    logging.set_verbosity_error()
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if hasattr(config, "quantization_config"):  # no weights, nothing to dequantize
        del config.quantization_config
    wrapper = type(config) in AutoModelForImageTextToText._model_mapping
    opener = AutoModelForImageTextToText if wrapper else AutoModelForCausalLM
    with torch.device("meta"):
        model = opener.from_config(config, dtype=torch.bfloat16, trust_remote_code=False)
    return _made_up(model).eval()


def _made_up(model: Any) -> Any:
    largest = max((x.shape[-2] * x.shape[-1] for x in model.parameters() if x.dim() > 1), default=1)
    pool = torch.randn(min(POOL, largest) + 8 * 512, generator=torch.Generator().manual_seed(0))
    pool = (pool * 0.02).to(torch.bfloat16)
    made: dict[int, nn.Parameter] = {}  # tied ones stay tied
    for module in model.modules():
        module._is_hf_initialized = False
        for name, x in module._parameters.items():
            if x is not None:
                if id(x) not in made:
                    made[id(x)] = _parameter(x, pool, 8 * (len(made) % 509))
                module._parameters[name] = made[id(x)]
        for name, x in module._buffers.items():
            if x is not None:
                module._buffers[name] = torch.zeros(x.shape, dtype=x.dtype)
    model.initialize_weights()
    return model


def _parameter(x: Tensor, pool: Tensor, start: int) -> nn.Parameter:
    if x.dim() < 2:
        return nn.Parameter(torch.zeros(x.shape, dtype=x.dtype), requires_grad=False)
    *outer, rows, columns = x.shape
    step = columns if rows * columns <= len(pool) - start else 1
    view = pool.as_strided((*outer, rows, columns), (*[0] * len(outer), step, 1), start)
    made = nn.Parameter(view.to(x.dtype), requires_grad=False)
    made._is_hf_initialized = True  # type: ignore[attr-defined]
    return made


@dataclass(frozen=True)
class Named:
    """Names in the checkpoint, several where the model has one matrix for several of it; or why there are none."""

    names: tuple[str, ...] = ()
    reason: str = ""


class Names:
    """What modules are called in a checkpoint: transformers renames tensors, and joins some, when it loads them."""

    def __init__(self, model: Any, tensors: Collection[str]) -> None:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

        self._paths = {id(module): path for path, module in model.named_modules()}
        self._sources: dict[str, list[str]] = {}
        own, mapping = model.state_dict(), get_model_conversion_mapping(model)
        renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
        converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
        for source in sorted(tensors):
            if source.endswith(".weight"):
                target, _ = rename_source_key(source, renamings, converters, model.base_model_prefix, own)
                self._sources.setdefault(target.removesuffix(".weight"), []).append(source.removesuffix(".weight"))

    def told(self, module: nn.Module) -> str:
        """For people: where it is in the model, and its class."""
        return f"{self._paths[id(module)]}, {type(module).__name__}"

    def of(self, module: nn.Module) -> Named:
        """Of a module with a weight."""
        path = self._paths[id(module)]
        found = self._sources.get(path, [])
        return Named(tuple(found)) if found else Named(reason=f"the checkpoint has no tensor for {path}.weight")

    def around(self, module: nn.Module) -> Named:
        """Of a module without a weight of its own: what is before the names of those inside it."""
        path = self._paths[id(module)]
        for inner, names in self._sources.items():
            inside = inner.removeprefix(path)
            if inner.startswith(f"{path}.") and names[0].endswith(inside):
                return Named((names[0].removesuffix(inside),))
        return Named(reason=f"the checkpoint has no tensor inside {path}")
