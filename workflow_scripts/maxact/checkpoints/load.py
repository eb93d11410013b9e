"""Open a checkpoint folder with transformers, and refuse one that would be opened wrongly.

transformers fills a missing tensor with random numbers and says so in a warning only; here it is an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, Mxfp4Config
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from maxact.checkpoints.folder import read_config, weight_files
from maxact.errors import UserError

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def load_model(
    folder: Path,
    dtype: str = "bfloat16",
    attention: str = "sdpa",
    expected_model_type: str | None = None,
    device: str = "cpu",
) -> Any:
    """The language model in `folder`, on `device`, in evaluation mode; a vision-language model with its wrapper.

    Args:
        folder: config.json and safetensors.
        dtype: "bfloat16", "float16" or "float32".
        attention: "sdpa" or "eager". An architecture for which transformers has no sdpa (soft-capped scores in Gemma 2,
            sinks in gpt-oss) is opened with "eager"; `model.config._attn_implementation` says which it is.
        expected_model_type: what the checkpoint's family declares.
        device: "cpu", or "cuda": the GPU that this process sees, or all that it sees, with whole blocks on each.

    Raises:
        UserError: a file is missing, damaged or a pickle; the architecture is unknown, needs remote code, or is not the
            declared one; tensors are missing, left over, or of another shape; torch has no CUDA, sees no GPU, or the
            weights do not fit on those that it sees.
    """
    devices = _devices(device)
    config = read_config(folder)
    _check_model_type(folder, config, expected_model_type)
    weight_files(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opener, model_class = _class_of(folder)
            model, report = opener.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                attn_implementation=attention if model_class._supports_sdpa else "eager",
                device_map=None if device == "cpu" else devices[0] if len(devices) == 1 else "auto",
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **_dequantized(config),
            )
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder}: transformers cannot open it ({reason}); check config.json and weights") from None
    _check_tensors(folder, report)
    placed = getattr(model, "hf_device_map", {}).values()
    if device == "cuda" and any(str(place) in ("cpu", "disk") for place in placed):
        raise UserError(f"{folder}: does not fit on {len(devices)} GPUs; give it more (gpus of the checkpoint)")
    return model.eval()


def _check_model_type(folder: Path, config: Mapping[str, Any], expected: str | None) -> None:
    """Refuse an architecture that is unknown, or not the one that the family declares."""
    model_type = config["model_type"]
    if expected is not None and model_type != expected:
        raise UserError(f"{folder}: model_type is {model_type!r}, its family declares {expected!r}; mend the family")
    if model_type not in CONFIG_MAPPING:
        remote = " (it needs code of its own, which is not run)" if "auto_map" in config else ""
        raise UserError(
            f"{folder}: model_type {model_type!r} is unknown to transformers {transformers.__version__}{remote}"
        )


def _check_tensors(folder: Path, report: Mapping[str, Any]) -> None:
    """Refuse weights that transformers would fill with random numbers, or leave out."""
    problems = {
        "missing": report["missing_keys"],
        "left over": report["unexpected_keys"],
        "of another shape than config.json says": [mismatch[0] for mismatch in report["mismatched_keys"]],
    }
    for what, names in problems.items():
        if names:
            raise UserError(
                f"{folder}: {len(names)} tensors are {what}, such as {sorted(names)[0]!r}; check config.json and weights"
            )


def _dequantized(config: dict[str, Any]) -> dict[str, Any]:
    """How a checkpoint that was released quantized is opened in its computing dtype, so that any device measures the same.

    Raises:
        ValueError: nothing here dequantizes that format.
    """
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method is None:
        return {}
    if method != "mxfp4":
        raise ValueError(f"weights quantized as {method!r} are not dequantized here; use the release in bfloat16")
    return {"quantization_config": Mxfp4Config(dequantize=True)}


def gpu_names(model: Any) -> list[str]:
    """What the GPUs are called on which the model lies; empty on CPU."""
    devices = {parameter.device for parameter in model.parameters()}
    used = sorted(device.index or 0 for device in devices if device.type == "cuda")
    return [torch.cuda.get_device_name(index) for index in used]


def _devices(device: str) -> list[str]:
    """The devices that a model may lie on, as torch calls them."""
    if device == "cpu":
        return ["cpu"]
    if torch.version.cuda is None:
        raise UserError(
            f"torch {torch.__version__} is built without CUDA; run `make gpu`, which installs the CUDA build"
        )
    if not torch.cuda.is_available():
        raise UserError("torch sees no GPU; is one there (nvidia-smi -L), and does its driver suit torch?")
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def _class_of(folder: Path) -> tuple[Any, Any]:
    """What opens the checkpoint: the wrapper where there is one, as a text-only class leaves its vision weights over."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for opener in (AutoModelForImageTextToText, AutoModelForCausalLM):
        if type(config) in opener._model_mapping:
            return opener, opener._model_mapping[type(config)]
    raise ValueError(f"model_type {config.model_type!r} is no causal language model")
