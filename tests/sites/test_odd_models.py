"""Models that return or overwrite their tensors in unusual ways have the statistics of those that do not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from measure.models import VOCABULARY, tiny
from sites.architectures import build
from torch import Tensor, nn
from transformers.utils import ModelOutput

from maxact.errors import UserError
from maxact.measure.kernels import KERNELS
from maxact.measure.run import Sample, measure
from maxact.sites.components import COMPONENTS

SAMPLES = [Sample(0, "calibration", (1, 5, 3, 2)), Sample(1, "evaluation", (4,)), Sample(2, "rest", (7, 7, 6, 1, 0))]
EVERY = list(COMPONENTS)


@dataclass
class Named:
    """What a module returns, in a field that is not the first."""

    cache: None
    hidden: Tensor


@dataclass
class NamedOutput(ModelOutput):  # type: ignore[misc]  # of a package without types
    hidden: Tensor | None = None


RETURNS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]] = {
    "a tuple": (lambda x: (x, None), lambda y: y[0]),
    "a list whose second is meant": (lambda x: [None, x], lambda y: y[1]),
    "a dictionary": (lambda x: {"hidden": x}, lambda y: y["hidden"]),
    "a dataclass": (lambda x: Named(None, x), lambda y: y.hidden),
    "a ModelOutput": (lambda x: NamedOutput(hidden=x), lambda y: y.hidden),
    "a tensor that is not contiguous": (lambda x: x.transpose(1, 2).contiguous().transpose(1, 2), lambda y: y),
}


class Returning(nn.Module):
    """A module that returns what another does, dressed up."""

    def __init__(self, inner: nn.Module, dress: Callable[[Any], Any]) -> None:
        super().__init__()
        self.inner, self.dress = inner, dress

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.dress(self.inner(*arguments, **keywords))


class Block(nn.Module):
    """Attention and MLP of another block, which return as is said."""

    def __init__(self, block: Any, dress: Callable[[Tensor], Any], undress: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = block.input_layernorm, block.post_attention_layernorm
        self.attention = Returning(block.self_attn, lambda output: dress(output[0]))
        self.mlp, self.undress = Returning(block.mlp, dress), undress

    def forward(self, hidden_states: Tensor, **keywords: Any) -> Tensor:
        x = hidden_states + self.undress(self.attention(self.before_attention(hidden_states), **keywords))
        return x + self.undress(self.mlp(self.before_mlp(x)))


class InPlace(nn.Module):
    """A gated MLP that overwrites what its projections have returned."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = mlp.gate_proj, mlp.up_proj, mlp.down_proj
        self.act_fn = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)).mul_(self.up_proj(x)))
        return output


def tables(model: Any, folder: Path, kernel: str | None = None) -> dict[str, bytes]:
    found = measure(model, SAMPLES, EVERY, kernel=kernel)
    return {name: file.read_bytes() for name, file in found.write(folder).items()}


@pytest.mark.parametrize("returned", RETURNS)
def test_what_modules_return_their_tensors_in_changes_nothing(returned: str, tmp_path: Path) -> None:
    plain, odd = build("mistral"), build("mistral")
    decoder = odd.get_decoder()
    decoder.layers = nn.ModuleList(Block(block, *RETURNS[returned]) for block in decoder.layers)
    assert tables(odd, tmp_path / "odd") == tables(plain, tmp_path / "plain")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["qwen2", "mistral"])
def test_a_gate_is_seen_before_its_activation_overwrites_it(name: str, kernel: str, tmp_path: Path) -> None:
    plain = tiny(name) if name == "qwen2" else build(name)
    odd = copy.deepcopy(plain)
    for block in odd.get_decoder().layers:
        block.mlp = InPlace(block.mlp)
    assert tables(odd, tmp_path / "odd", kernel) == tables(plain, tmp_path / "plain")


def test_a_head_of_its_own_or_that_of_the_embedding_changes_nothing(tmp_path: Path) -> None:
    own, tied = tiny("qwen2"), tiny("qwen2")
    tied.lm_head.weight = tied.get_decoder().embed_tokens.weight
    assert not torch.equal(own.lm_head.weight, own.get_decoder().embed_tokens.weight)
    assert tables(own, tmp_path / "own") == tables(tied, tmp_path / "tied")


@pytest.mark.parametrize("name", ["qwen2", "mistral"])
def test_a_hook_of_somebody_else_that_raises_leaves_none_of_ours(name: str, tmp_path: Path) -> None:
    model = tiny(name) if name == "qwen2" else build(name)
    expected = tables(model, tmp_path / "before")

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    handle = model.get_decoder().layers[1].mlp.register_forward_hook(fail)
    with pytest.raises((ZeroDivisionError, UserError)):
        measure(model, SAMPLES, EVERY)
    handle.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert tables(model, tmp_path / "after") == expected


def test_ids_that_only_a_larger_vocabulary_has_are_refused_before_any_pass() -> None:
    model = tiny("qwen2")
    model.get_decoder().forward = lambda **_: pytest.fail("a pass")
    with pytest.raises(UserError, match=f"sample 1 has token id {VOCABULARY}, the model's vocabulary is 0 to"):
        measure(model, [SAMPLES[0], Sample(1, "rest", (1, VOCABULARY))], EVERY)
