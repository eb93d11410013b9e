"""The stage `checkpoint`: weights in the store, whatever they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maxact.checkpoints.folder import TOKENIZER_FILES, checkpoint_files, copy, folder_digest, read_config
from maxact.errors import UserError
from maxact.store.job import Job, Product
from maxact.study import Folder, Peak, Wheel, WheelMember


def compute(job: Job) -> Product:
    """config.json, safetensors and tokenizer files; the summary says what the checkpoint is and where it comes from."""
    source = job.parameters["source"]
    makers = {
        "gguf_wheel": _from_gguf_wheel,
        "gguf_parts": _from_gguf_parts,
        "folder": _from_folder,
        "planted": _planted,
    }
    folder, told = makers[source["kind"]](job, source)
    config = read_config(folder)
    expected = job.parameters["model_type"]
    if config["model_type"] != expected:
        raise UserError(
            f"checkpoint {job.name}: model_type is {config['model_type']!r}, its family declares {expected!r}; mend the family"
        )
    files = {file.name: file for file in checkpoint_files(folder)}
    return Product(files=files, summary={**_described(folder, files), **told})


def _from_gguf_wheel(job: Job, source: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    from maxact.wheels import licence_of, member_path

    wheel = Wheel(**source["wheel"])
    folder, told = _from_gguf(job, member_path(wheel, source["member"]))
    named = f"{wheel.package} {wheel.version}, {source['member']}"
    return folder, told | {"licence": licence_of(wheel), "source": named}


def _from_gguf_parts(job: Job, source: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    from maxact.wheels import joined_path

    parts = [WheelMember(wheel=Wheel(**part["wheel"]), member=part["member"]) for part in source["parts"]]
    folder, told = _from_gguf(job, joined_path(parts, source["sha256"], f"{job.name}.gguf"))
    named = f"{parts[0].wheel.package} {parts[0].wheel.version} and {len(parts) - 1} more"
    return folder, told | {"licence": source["licence"], "source": named}


def _from_gguf(job: Job, file: Path) -> tuple[Path, dict[str, Any]]:
    from maxact.checkpoints.gguf import ancestry, convert

    folder = job.scratch / "checkpoint"
    convert(file, folder)
    return folder, {"planted": False, "ancestry": ancestry(file)}


def _from_folder(job: Job, source: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    pinned = Folder(**source)
    folder = Path(pinned.path)
    found = folder_digest(folder)
    if found != pinned.sha256:
        raise UserError(f"{folder}: SHA-256 is {found}, the study pins {pinned.sha256}; mend the study or the folder")
    copy(checkpoint_files(folder), job.scratch / "checkpoint")
    return job.scratch / "checkpoint", {
        "planted": False,
        "ancestry": "as released",
        "licence": "unknown",
        "source": folder.name,
    }


def _planted(job: Job, source: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    from tokenizers import Tokenizer

    from maxact.checkpoints.planted.build import build

    tokenizer = Tokenizer.from_file(str(job.path("tokenizer", "tokenizer.json")))
    folder = job.scratch / "checkpoint"
    peak, token_id = Peak(**source["peak"]), job.parameters["marker"]["token_id"]
    size, context = tokenizer.get_vocab_size(with_added_tokens=True), job.parameters["context"]
    build(job.parameters["model_type"], source["layers"], source["seed"], peak, token_id, size, context, folder)
    truth = {"peak": source["peak"], "marker": job.parameters["marker"]}
    return folder, {"planted": True, "ancestry": "planted", "licence": "Apache-2.0", "source": "this software", **truth}


def _described(folder: Path, files: dict[str, Path]) -> dict[str, Any]:
    """Sizes as transformers understands config.json, which may leave defaults out; of a wrapper, its text decoder's."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    text = config.get_text_config()
    weights = [file for name, file in files.items() if name.endswith(".safetensors")]
    return {
        "model_type": config.model_type,
        "layers": text.num_hidden_layers,
        "hidden_size": text.hidden_size,
        "vocab_size": text.vocab_size,
        "context": text.max_position_embeddings,
        "parameters": sum(_parameters(file) for file in weights),
        "has_tokenizer": all(name in files for name in TOKENIZER_FILES),
    }


def _parameters(file: Path) -> int:
    """Elements of all tensors in a safetensors file, from its header."""
    import math

    from safetensors import safe_open

    with safe_open(file, framework="numpy") as archive:
        return sum(math.prod(archive.get_slice(name).get_shape()) for name in archive.keys())  # noqa: SIM118
