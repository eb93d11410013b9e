"""GGUF to safetensors, once, through transformers; with the ancestry that its numbers carry."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
import transformers
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.quantization_config import GgufConfig

from maxact.checkpoints.folder import unreadable
from maxact.errors import UserError

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

UNQUANTIZED = ("F32", "F16", "BF16", "F64")


def ancestry(file: Path) -> str:
    """What the weights were before they were dequantized, counted from the file's own tensor types.

    Raises:
        UserError: the file is not GGUF, or truncated.
    """
    kinds = Counter(tensor.tensor_type.name for tensor in _read(file).tensors)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    quantized = [kind for kind, _ in kinds.most_common() if kind not in UNQUANTIZED]
    if quantized:
        return f"dequantized from GGUF {quantized[0]} ({listed} tensors)"
    return f"from GGUF ({listed} tensors)"


def convert(file: Path, folder: Path) -> None:
    """Write the checkpoint as config.json, bfloat16 safetensors and tokenizer files into `folder`.

    Raises:
        UserError: the file is not GGUF, truncated, or of an architecture that transformers cannot read.
    """
    _read(file)
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            **where, dtype=torch.bfloat16, local_files_only=True, quantization_config=GgufConfig(dequantize=True)
        )
        tokenizer = AutoTokenizer.from_pretrained(**where, local_files_only=True)
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{file}: transformers cannot read it ({' '.join(str(error).split())[:200]})") from None
    model.config.name_or_path = ""  # the path of this machine
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)  # the chat template goes into tokenizer_config.json


def _read(file: Path) -> GGUFReader:
    """The reader, with every tensor within the file."""
    try:
        reader = GGUFReader(file)
        size = file.stat().st_size
        ends = [tensor.data_offset + tensor.n_bytes for tensor in reader.tensors]
    except OSError as error:
        raise unreadable(file, error) from None
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError):
        raise UserError(
            f"{file}: not readable as GGUF (not that format, truncated or damaged); fetch it again"
        ) from None
    if not ends or max(ends) > size:
        raise UserError(
            f"{file}: {size} bytes, but its tensors end at {max(ends, default=0)} (truncated); fetch it again"
        )
    return reader
