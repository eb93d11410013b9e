"""Compute what a job makes: in this process, or in the environment that its recipe names."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maxact.errors import UserError
from maxact.stages import STAGES, is_part, module_of, uses_of
from maxact.store.environment import compute_in
from maxact.store.job import Job, Product
from maxact.store.objects import Manifest, Store


def compute(
    stage: str,
    name: str,
    recipe: Mapping[str, Any],
    inputs: Mapping[str, Manifest],
    store: Store,
    scratch: Path,
    unfinished: Path | None = None,
) -> Product:
    """The product of one job, its files in `scratch`.

    Raises:
        UserError: from the stage, or the environment or its packages are not those of the recipe.
    """
    job = Job(stage, name, recipe["parameters"], inputs, uses_of(stage, name), store, scratch, unfinished)
    joins = STAGES[stage].joins
    if joins is not None and any(is_part(stage, source) for source in inputs):
        importlib.import_module(joins).join(job)
    module, packages = module_of(stage, recipe["parameters"]), recipe.get("packages", {})
    if "environment" in recipe:
        return compute_in(recipe["environment"], module, job, packages)
    return compute_here(module, job, packages, "run `make study` or install what envs/ locks")


def compute_here(module: str, job: Job, packages: Mapping[str, str], mend: str) -> Product:
    """The product of one job, by `compute` of that module, in this process.

    Args:
        module: dotted name.
        job: what it is given.
        packages: the versions that must be installed here.
        mend: what to do where others are.

    Raises:
        UserError: from the stage, or installed packages are others.
    """
    for package, locked in packages.items():
        try:
            installed = importlib.metadata.version(package).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            installed = "not installed"
        if installed != locked:
            raise UserError(f"{package}: installed {installed}, locked {locked}; {mend}")
    product: Product = importlib.import_module(module).compute(job)
    return product
