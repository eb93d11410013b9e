"""A tiny checkpoint with Ling's module names, which brings its code: a layout test, no proof of Ling's own code.

A peak can be planted into it with the gadgets that plant into real architectures.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from layout.bailing_moe.configuration_layout import LayoutConfig
from layout.bailing_moe.modeling_layout import LayoutForCausalLM
from safetensors.torch import save_file

from maxact.checkpoints.planted.attention import softmax_attention
from maxact.checkpoints.planted.gadgets import SIZES, Architecture, Attention, Mlp, plant
from maxact.checkpoints.planted.gated_mlp import gated_mlp
from maxact.study import Peak

CODE = Path(__file__).parent / "bailing_moe"
AUTO_MAP = {
    "AutoConfig": "configuration_layout.LayoutConfig",
    "AutoModelForCausalLM": "modeling_layout.LayoutForCausalLM",
}
PLANTING = {name: SIZES[name] for name in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim")}
"""The sizes that the gadgets are made for."""


def write_layout(folder: Path, peak: Peak | None = None, token_id: int = 0, **sizes: Any) -> Path:
    """config.json, Python files and seeded bfloat16 safetensors in `folder`; block 0 is dense, the others have experts."""
    folder.mkdir(parents=True)
    for file in CODE.glob("*.py"):
        shutil.copyfile(file, folder / file.name)
    chosen = {"initializer_range": 0.02, **PLANTING, "intermediate_size": 128, **sizes}
    told = {"vocab_size": 96, "num_hidden_layers": 3, "max_position_embeddings": 64}
    told |= {"rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    config = {
        "model_type": "bailing_moe",
        "architectures": ["LayoutForCausalLM"],
        "auto_map": AUTO_MAP,
        **told,
        **chosen,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LayoutForCausalLM(LayoutConfig(**chosen)).to(torch.bfloat16).eval()
    if peak is not None:
        decoder = model.model
        named = SimpleNamespace(layers=decoder.layers, norm=decoder.norm, embed_tokens=decoder.word_embeddings)
        plant(
            SimpleNamespace(get_decoder=lambda: named), peak, token_id, Architecture(lambda *_: model, mlp, attention)
        )
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def mlp(layer: Any) -> Mlp:
    """The dense MLP; among experts that of the shared ones, whose output is added to that of the routed ones."""
    if not hasattr(layer.mlp, "experts"):
        return gated_mlp(layer.mlp)
    shared = gated_mlp(layer.mlp.shared_experts)
    routed = [expert.down_proj.weight for expert in layer.mlp.experts]
    return Mlp([*shared.downs, *routed], shared.neuron, shared.gate, shared.gate_down)


def attention(layer: Any) -> Attention:
    """Query, key and value as the parts of one matrix that they are."""
    inner = layer.attention
    weight, size = inner.query_key_value.weight, inner.size
    query, key, value = weight.split([inner.heads * size, inner.pairs * size, inner.pairs * size])
    parts = {"q_proj": query, "k_proj": key, "v_proj": value}
    named = {name: SimpleNamespace(weight=part, bias=None) for name, part in parts.items()}
    norms = {"q_norm": inner.query_layernorm, "k_norm": inner.key_layernorm}
    return softmax_attention(SimpleNamespace(**named, **norms, o_proj=inner.dense))
