"""How a peak of exactly known value is put into weights, without calibration.

The marker token's embedding is 1,024 at one channel, the *beacon*, where every other token has 0 and nobody writes. With a
hidden size of 64 the root mean square of that token is 1024 / 8, so any RMS norm turns the beacon into exactly 8 for the
marker and exactly 0 for every other token: a switch that weights can read. An MLP neuron, or an attention head in which
the marker attends to itself alone, then writes a chosen amount to one channel, all in numbers that bfloat16 holds.

After an amount r is written the norm gives n = 8 x 1024 / sqrt(1024^2 + r^2) at the beacon instead; that is known too, and
the weight that reads it is chosen so that the product rounds to the power of two that the gadget needs.

So that the peak is the one largest value, amounts are laid out as follows (V the value, r of the peak's channel before):

* embedding V; then attention 0 writes -V/2
* attention_output V in layer l; then the MLP of l writes -V/2
* mlp_output: attention l writes -V/2; then the MLP of l writes V
* residual: attention l writes V/2, the MLP of l writes V/2; then the MLP of l + 1 writes -V/2
* gate, final norm: a weight of V/8 at the beacon
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from maxact.errors import UserError

if TYPE_CHECKING:
    from maxact.study import Peak

HIDDEN = 64
HEADS = 4
KEY_VALUE_HEADS = 2
HEAD_DIMENSION = 16
BEACON = 1024.0
SIZES: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_VALUE_HEADS,
    "head_dim": HEAD_DIMENSION,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "use_cache": False,
}


@dataclass(frozen=True)
class Neuron:
    """One gated neuron: rows of gate and up that it reads with, column of down that it writes with; views of weights."""

    gate_H: Tensor
    up_H: Tensor
    down_H: Tensor


@dataclass(frozen=True)
class Mlp:
    """The MLP of a layer, as planting needs it.

    Attributes:
        downs: every matrix [hidden, intermediate] that writes into the residual stream.
        neuron: given the marker's reading at the beacon and the beacon's channel, the neuron to plant with; where there
            are experts, the marker is sent to its expert.
        gate: gate projection [intermediate, hidden], or None where there is no single one.
    """

    downs: list[Tensor]
    neuron: Callable[[float, int], Neuron]
    gate: Tensor | None


def plant(model: Any, peak: Peak, token_id: int, mlp_of: Callable[[Any], Mlp]) -> None:
    """Put `peak` into the weights of `model`, at the marker `token_id`.

    Raises:
        UserError: the peak cannot be exact, or lies outside the model.
    """
    value = peak.value
    check_peak(model, peak, mlp_of)
    channel = peak.channel
    # A peak in the final norm is read off the beacon itself; otherwise the beacon stands apart from the peak's channel.
    beacon = channel if peak.component == "final_norm" else (1 if peak.component != "gate" and channel == 0 else 0)
    layers = model.model.layers
    with torch.no_grad():
        _clear(model, sorted({beacon, channel % HIDDEN}), token_id, beacon, mlp_of)
        if peak.component == "final_norm":
            model.model.norm.weight[channel] = value / 8
            return
        layer = peak.layer or 0
        if peak.component == "gate":
            _plant_gate(mlp_of(layers[layer]), channel, beacon, value)
            return
        attention = {
            "embedding": -value / 2,
            "attention_output": value,
            "mlp_output": -value / 2,
            "residual": value / 2,
        }
        mlp = {"embedding": 0.0, "attention_output": -value / 2, "mlp_output": value, "residual": value / 2}
        held = 0.0
        if peak.component == "embedding":
            model.model.embed_tokens.weight[token_id, channel] = held = value
        _attention_writes(layers[layer].self_attn, beacon, channel, attention[peak.component], held)
        held += attention[peak.component]
        if mlp[peak.component]:
            _mlp_writes(mlp_of(layers[layer]), beacon, channel, mlp[peak.component], held)
            held += mlp[peak.component]
        if peak.component == "residual" and layer + 1 < len(layers):
            _mlp_writes(mlp_of(layers[layer + 1]), beacon, channel, -value / 2, held)


def check_peak(model: Any, peak: Peak, mlp_of: Callable[[Any], Mlp]) -> None:
    """Refuse a peak that cannot be planted exactly.

    Raises:
        UserError: says which key of the peak, and what would do.
    """
    layers = model.model.layers
    if peak.layer is not None and peak.layer >= len(layers):
        raise UserError(f"peak.layer: {peak.layer} is not in the model; it has layers 0 to {len(layers) - 1}")
    width = HIDDEN
    if peak.component == "gate":
        gate = mlp_of(layers[peak.layer or 0]).gate
        if gate is None:
            raise UserError(f"peak.component: gate does not exist in {model.config.model_type}; choose another")
        width = gate.shape[0]
    if peak.channel >= width:
        raise UserError(
            f"peak.channel: {peak.channel} is not in the model; {peak.component} has channels 0 to {width - 1}"
        )
    if not math.isfinite(peak.value) or float(torch.tensor(peak.value, dtype=torch.bfloat16)) != peak.value:
        raise UserError(f"peak.value: {peak.value} is not exact in bfloat16; choose a value that is, such as 12288")
    if not BEACON < abs(peak.value) <= 2.0**30:
        raise UserError(
            f"peak.value: {peak.value} must be above {BEACON:.0f} (which marks the token) and at most 2^30 in size"
        )


def _clear(model: Any, channels: list[int], token_id: int, beacon: int, mlp_of: Callable[[Any], Mlp]) -> None:
    """Nobody writes to the beacon or to the peak's channel, and the marker shows the beacon."""
    for channel in channels:
        model.model.embed_tokens.weight[:, channel] = 0
    model.model.embed_tokens.weight[token_id, beacon] = BEACON
    for layer in model.model.layers:
        for matrix in (layer.self_attn.o_proj.weight, *mlp_of(layer).downs):
            matrix[channels, :] = 0


def _beacon_after_norm(held: float) -> float:
    """What a norm of weight 1 gives at the beacon when the peak's channel holds `held`, as transformers computes it."""
    x = torch.tensor([BEACON, held] + [0.0] * (HIDDEN - 2), dtype=torch.float32)
    return float((x * torch.rsqrt(x.pow(2).mean() + SIZES["rms_norm_eps"])).to(torch.bfloat16)[0])


def weight_to_read(reading: float, target: float) -> Tensor:
    """A bfloat16 weight whose product with `reading` rounds to `target`.

    Raises:
        UserError: there is none.
    """
    nearest = torch.tensor(target / reading, dtype=torch.float64).to(torch.bfloat16)
    for step in (0, 1, -1):
        weight = (nearest.view(torch.int16) + step).view(torch.bfloat16)
        if float((weight.double() * reading).to(torch.bfloat16)) == target:
            return weight
    raise UserError(f"peak.value: no bfloat16 weight turns {reading} into {target}; choose another value")


def _attention_writes(attention: Any, beacon: int, channel: int, amount: float, held: float) -> None:
    """Head 0: the marker sees itself alone, and its value, 16, is written times amount / 16."""
    reading = _beacon_after_norm(held)
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        if projection.bias is not None:
            projection.bias.zero_()
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[:HEAD_DIMENSION] = 0
        projection.weight[0, beacon] = weight_to_read(reading, 128.0)
    for norm in (getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)):
        if norm is not None:
            norm.weight[0] = 64  # the norm turns 128 alone in its head into 4
    attention.v_proj.weight[0] = 0
    attention.v_proj.weight[0, beacon] = weight_to_read(reading, 16.0)
    attention.o_proj.weight[:, 0] = 0
    attention.o_proj.weight[channel, 0] = amount / 16


def _mlp_writes(mlp: Mlp, beacon: int, channel: int, amount: float, held: float) -> None:
    """A neuron whose gate is 32 (silu(32) = 32) and whose up is 1 for the marker, both 0 for any other token."""
    reading = _beacon_after_norm(held)
    neuron = mlp.neuron(reading, beacon)
    neuron.gate_H[:], neuron.up_H[:], neuron.down_H[:] = 0, 0, 0
    neuron.gate_H[beacon] = weight_to_read(reading, 32.0)
    neuron.up_H[beacon] = weight_to_read(reading, 1.0)
    neuron.down_H[channel] = amount / 32


def _plant_gate(mlp: Mlp, channel: int, beacon: int, value: float) -> None:
    """A gate of `value` whose neuron writes nothing."""
    assert mlp.gate is not None
    mlp.gate[channel] = 0
    mlp.gate[channel, beacon] = value / 8
    for down in mlp.downs:
        down[:, channel] = 0
