"""Checkpoints whose architecture is in Python files beside their weights.

Such code runs with all rights of its user, so it runs only where the study opts in with `remote_code`, and only the very
code whose digest the study pins: every `*.py` file is compared before any is imported. They are then imported from where
they lie, and their classes are registered with transformers, whose own `trust_remote_code` stays off.

The same files are kept in the store beside the weights, so that measuring needs no other source.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

from maxact.checkpoints.folder import read_config
from maxact.errors import UserError
from maxact.stages import STAGES
from maxact.store.job import Job, Product
from maxact.store.objects import canonical, digest_file, digest_text

CONFIG, MODEL = "AutoConfig", "AutoModelForCausalLM"


def compute(job: Job) -> Product:
    """What the job's own stage makes of the checkpoint, with the checkpoint's code at hand.

    The stage `checkpoint` runs none of it: it takes sizes from config.json as they are there.

    Raises:
        UserError: the code is not there, is not what the study pins, or cannot be used; none of it is run then.
    """
    stage, pinned = importlib.import_module(STAGES[job.stage].module), job.parameters["remote_code"]["sha256"]
    if job.stage != "checkpoint":
        register(job.folder("checkpoint"), pinned)
        product: Product = stage.compute(job)
        return product
    _register_sizes(job.parameters["model_type"])
    made: Product = stage.compute(job)
    folder = made.files["config.json"].parent
    digest = compare(folder, pinned)
    files = {file.name: file for file in code_files(folder)}
    return Product({**made.files, **files}, {**made.summary, "code": digest}, made.costs)


def _register_sizes(model_type: str) -> None:
    """Have transformers read a configuration that has what config.json says, and nothing more."""
    from transformers import AutoConfig, PretrainedConfig

    sizes = type("Sizes", (PretrainedConfig,), {"model_type": model_type})
    AutoConfig.register(model_type, sizes, exist_ok=True)


def code_files(folder: Path) -> list[Path]:
    """The Python files of a checkpoint folder, in order of name."""
    return sorted(folder.glob("*.py"))


def code_digest(folder: Path) -> str:
    """SHA-256 over names and digests of the Python files.

    Raises:
        UserError: there are none.
    """
    files = code_files(folder)
    if not files:
        raise UserError(f"{folder}: no *.py file; there is no code to opt in to")
    return digest_text(canonical({file.name: digest_file(file) for file in files}))


def compare(folder: Path, pinned: str | None) -> str:
    """The digest of the Python files, if they are what the study pins; None where the lock file has pinned each of them.

    Raises:
        UserError: they are not, or there are none.
    """
    found = code_digest(folder)
    if pinned is not None and found != pinned:
        raise UserError(f"{folder}: SHA-256 of its code is {found}, the study pins {pinned}; none of it was run")
    return found


def register(folder: Path, pinned: str | None) -> None:
    """Make the architecture in the folder's Python files known to transformers, for this process.

    Args:
        folder: config.json, whose `auto_map` names the classes, and the Python files.
        pinned: the digest that they must have, as in `compare`.

    Raises:
        UserError: the digest is another, or the code cannot be imported or does not have the classes.
    """
    digest = compare(folder, pinned)
    config = read_config(folder)
    named = config.get("auto_map", {})
    config_class, model_class = (_class(folder, digest, named, auto) for auto in (CONFIG, MODEL))
    from transformers import AutoConfig, AutoModelForCausalLM

    # The classes of the hub may leave the type to config.json.
    config_class.model_type = config["model_type"]
    AutoConfig.register(config["model_type"], config_class, exist_ok=True)
    AutoModelForCausalLM.register(config_class, model_class, exist_ok=True)


def _class(folder: Path, digest: str, named: dict[str, Any], auto: str) -> Any:
    """The class that `auto_map` names, from the module that has it."""
    module, _, name = str(named.get(auto, "")).partition(".")
    if not name or not (folder / f"{module}.py").exists():
        raise UserError(f"{folder / 'config.json'}: auto_map names no class of a file beside it for {auto}")
    package = f"maxact_own_code_{digest}"
    if package not in sys.modules:
        specification = ModuleSpec(package, None, is_package=True)
        specification.submodule_search_locations = [str(folder)]
        sys.modules[package] = module_from_spec(specification)
    try:
        return getattr(importlib.import_module(f"{package}.{module}"), name)
    except Exception as error:  # whatever others' code may raise
        reason = f"{error.__class__.__name__}: {' '.join(str(error).split())}"[:200]
        raise UserError(
            f"{folder / module}.py: cannot be imported ({reason}); it may need an environment of its own (see README.md)"
        ) from None
