"""Every site of an architecture is listed in forward order; what an architecture lacks is listed as not applicable."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from measure.models import MODELS, tiny

from maxact.sites.components import PAPER
from maxact.sites.find import find_sites
from maxact.sites.registry import ADAPTERS, OWN_CODE

LAYERED = ["attention_output", "router_logits", "gate", "mlp_output", "residual"]


def test_every_adapter_is_tried_here() -> None:
    tried_apart = set(OWN_CODE)  # test_bailing_moe.py
    assert {name.partition(":")[0] for name in MODELS} == set(ADAPTERS) - tried_apart


@pytest.mark.parametrize("name", MODELS)
def test_sites_are_numbered_in_forward_order(name: str) -> None:
    sites = find_sites(tiny(name).get_decoder(), list(PAPER))
    expected: list[tuple[str, int | None]] = [("embedding", None)]
    expected += [(component, layer) for layer in range(3) for component in LAYERED]
    expected += [("final_norm", None)]
    assert [(site.component, site.layer) for site in sites] == expected
    assert [site.number for site in sites] == list(range(len(sites)))


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("llama", [("router_logits", 0), ("router_logits", 1), ("router_logits", 2)]),
        ("qwen2", [("router_logits", 0), ("router_logits", 1), ("router_logits", 2)]),
        ("qwen3_moe", [("gate", 0), ("gate", 1), ("gate", 2)]),
        ("qwen3_moe:dense_layer", [("gate", 0), ("router_logits", 1), ("gate", 2)]),
        ("qwen3_5_moe", []),
        ("gpt_oss", [("gate", 0), ("gate", 1), ("gate", 2)]),
    ],
)
def test_what_an_architecture_lacks_is_not_applicable(name: str, absent: list[Any]) -> None:
    sites = find_sites(tiny(name).get_decoder(), list(PAPER))
    assert [(site.component, site.layer) for site in sites if site.place is None] == absent


def test_modules_run_in_the_order_of_the_sites() -> None:
    """Within a block, a site's number is lower where its tensor exists earlier; the gate runs inside the MLP."""
    decoder = tiny("qwen3_moe:dense_layer").get_decoder()
    sites = find_sites(decoder, list(PAPER))
    fired: list[int] = []
    for site in sites:
        if site.place is not None and site.place.before:
            site.place.module.register_forward_pre_hook(lambda *_, number=site.number: fired.append(number))
        elif site.place is not None:
            site.place.module.register_forward_hook(lambda *_, number=site.number: fired.append(number))
    decoder(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)
    assert fired == [site.number for site in sites if site.place is not None]


def test_chosen_components_alone_are_numbered() -> None:
    sites = find_sites(tiny("llama").get_decoder(), ["residual", "final_norm"])
    assert [(site.number, site.component) for site in sites] == [
        (0, "residual"), (1, "residual"), (2, "residual"), (3, "final_norm")
    ]  # fmt: skip


def test_names_of_adapters_are_known_without_torch() -> None:
    code = "import sys; import maxact.sites.find, maxact.sites.registry, maxact.histogram, maxact.measurement\n"
    code += "assert not {'torch', 'transformers', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
