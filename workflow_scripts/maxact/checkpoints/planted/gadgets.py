"""How a peak of exactly known value is put into weights, without calibration.

The marker token's embedding is 1,024 at one channel, the *beacon*, where every other token has 0 and nobody writes. With a
hidden size of 64 the root mean square of that token is 1024 / 8, so any RMS norm turns the beacon into exactly 8 for the
marker and exactly 0 for every other token: a switch that weights can read. An MLP neuron, or an attention head in which
the marker attends to itself alone, then writes a chosen amount to one channel, all in numbers that bfloat16 holds.

Once the peak's channel holds r, the norm gives n = 8 x 1024 / sqrt(1024^2 + r^2) at the beacon instead; that is known too,
and the weight that reads it is chosen so that the product rounds to the power of two that the gadget needs.

So that the peak is the one largest value, amounts are laid out as follows (V the value, l its layer):

* embedding: V; the MLP of layer 0 writes -V/2
* attention_output: the attention of l writes V, its MLP -V/2
* mlp_output: the embedding holds -V/2; the MLP of l writes V
* residual: the embedding holds V/2, the MLP of l writes V/2; the MLP of l + 1 writes -V/2
* gate, final norm: a weight that turns 8 into V at the beacon

Where a norm follows the block (Gemma 2 and 3), what is written is 8 times that norm's weight, whatever the block's own
output is, so the output can hold V while the residual stream gets 8.
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
EPSILON = 1e-6
SIZES: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_VALUE_HEADS,
    "head_dim": HEAD_DIMENSION,
    "rms_norm_eps": EPSILON,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "use_cache": False,
}


@dataclass(frozen=True)
class Neuron:
    """One gated neuron.

    Attributes:
        gate_H, up_H: the rows that it reads with; views of weights.
        down_H: the column that it writes with.
        gate, up: what they are made to read, and
        activation: what the neuron then is, exactly: silu(32) x 1 = 32 in most architectures.
    """

    gate_H: Tensor
    up_H: Tensor
    down_H: Tensor
    gate: float = 32.0
    up: float = 1.0
    activation: float = 32.0


@dataclass(frozen=True)
class Mlp:
    """The MLP or the experts of a layer, as planting needs them.

    Attributes:
        downs: every matrix [hidden, intermediate] that writes into the residual stream.
        neuron: given the marker's reading at the beacon and the beacon's channel, the neuron to plant with; where there
            are experts, the marker is sent to its expert.
        gate: gate projection [intermediate, hidden], or None where there is no single one.
        gate_down: the matrix of `downs` that follows it.
    """

    downs: list[Tensor]
    neuron: Callable[[float, int], Neuron]
    gate: Tensor | None = None
    gate_down: Tensor | None = None


@dataclass(frozen=True)
class Attention:
    """The attention of a layer, as planting needs it.

    Attributes:
        out: the matrix [hidden, heads x head] that writes into the residual stream.
        write: given the marker's reading at the beacon and the beacon's channel, makes one column of `out` see a known
            amount for the marker; returns the column's number and the amount.
    """

    out: Tensor
    write: Callable[[float, int], tuple[int, float]]


@dataclass(frozen=True)
class Architecture:
    """What planting must know of an architecture.

    Attributes:
        make: layers, vocabulary size and context length -> a tiny random model.
        attention_of, mlp_of: of one decoder block.
        embedding_scale: by which the embedding's rows are multiplied.
        norm_offset: 1 where a norm multiplies by one more than its weight, else 0.
        norm_after_mlp: the norm that follows the MLP of a block before it is added to the residual stream, if one does.
    """

    make: Callable[[int, int, int], Any]
    mlp_of: Callable[[Any], Mlp]
    attention_of: Callable[[Any], Attention]
    embedding_scale: float = 1.0
    norm_offset: float = 0.0
    norm_after_mlp: Callable[[Any], Any] | None = None


def plant(model: Any, peak: Peak, token_id: int, architecture: Architecture) -> None:
    """Put `peak` into the weights of `model`, at the marker `token_id`.

    Raises:
        UserError: the peak cannot be exact, or lies outside the model.
    """
    decoder, value, channel = model.get_decoder(), peak.value, peak.channel
    check_peak(decoder, peak, architecture)
    # A peak in the final norm is read off the beacon itself; otherwise the beacon stands apart from the peak's channel.
    beacon = channel if peak.component == "final_norm" else (1 if peak.component != "gate" and channel == 0 else 0)
    layer, after = peak.layer or 0, architecture.norm_after_mlp is not None
    with torch.no_grad():
        _clear(decoder, sorted({beacon, channel % HIDDEN}), architecture)
        embedding = decoder.embed_tokens.weight[token_id]
        embedding[beacon] = BEACON / architecture.embedding_scale
        writer = _Writer(decoder, architecture, beacon, channel)
        if peak.component == "final_norm":
            decoder.norm.weight[channel] = norm_weight(value, architecture.norm_offset)
        elif peak.component == "gate":
            _plant_gate(architecture.mlp_of(decoder.layers[layer]), channel, beacon, value)
        elif peak.component == "attention_output":
            writer.attention(layer, value)
            if not after:
                writer.mlp(layer, -value / 2, held=value)
        else:
            held = {"embedding": value, "mlp_output": -value / 2, "residual": value / 2}[peak.component]
            if after and peak.component != "embedding":
                held = 0.0  # the norm after the block keeps the peak out of the residual stream, or makes it there
            embedding[channel] = held / architecture.embedding_scale
            if peak.component == "mlp_output":
                writer.mlp(layer, value, held)
            elif peak.component == "residual":
                writer.stream(layer, value - held, held)
                if layer + 1 < len(decoder.layers):
                    writer.stream(layer + 1, -value / 2, value)
            else:
                writer.stream(0, -value / 2, value)


def check_peak(decoder: Any, peak: Peak, architecture: Architecture) -> None:
    """Refuse a peak that cannot be planted exactly.

    Raises:
        UserError: says which key of the peak, and what would do.
    """
    layers = decoder.layers
    if peak.layer is not None and peak.layer >= len(layers):
        raise UserError(f"peak.layer: {peak.layer} is not in the model; it has layers 0 to {len(layers) - 1}")
    width = HIDDEN
    if peak.component == "gate":
        gate = architecture.mlp_of(layers[peak.layer or 0]).gate
        if gate is None:
            raise UserError(f"peak.component: gate does not exist in {decoder.config.model_type}; choose another")
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


def _clear(decoder: Any, channels: list[int], architecture: Architecture) -> None:
    """Nobody writes to the beacon or to the peak's channel."""
    for channel in channels:
        decoder.embed_tokens.weight[:, channel] = 0
    for layer in decoder.layers:
        for matrix in (architecture.attention_of(layer).out, *architecture.mlp_of(layer).downs):
            matrix[channels, :] = 0


@dataclass(frozen=True)
class _Writer:
    """Makes a block write an amount to the peak's channel for the marker, when that channel holds `held` before."""

    decoder: Any
    architecture: Architecture
    beacon: int
    channel: int

    def attention(self, layer: int, amount: float) -> None:
        attention = self.architecture.attention_of(self.decoder.layers[layer])
        column, seen = attention.write(_beacon_after_norm(0.0), self.beacon)
        attention.out[:, column] = 0
        attention.out[self.channel, column] = amount / seen

    def mlp(self, layer: int, amount: float, held: float) -> None:
        """The MLP's own output is `amount`."""
        reading = _beacon_after_norm(held)
        neuron = self.architecture.mlp_of(self.decoder.layers[layer]).neuron(reading, self.beacon)
        neuron.gate_H[:], neuron.up_H[:], neuron.down_H[:] = 0, 0, 0
        neuron.gate_H[self.beacon] = weight_to_read(reading, neuron.gate)
        neuron.up_H[self.beacon] = weight_to_read(reading, neuron.up)
        neuron.down_H[self.channel] = amount / neuron.activation

    def stream(self, layer: int, amount: float, held: float) -> None:
        """What the MLP adds to the residual stream is `amount`, after a norm if there is one."""
        if self.architecture.norm_after_mlp is None:
            self.mlp(layer, amount, held)
            return
        self.mlp(layer, BEACON, held)
        norm = self.architecture.norm_after_mlp(self.decoder.layers[layer])
        norm.weight[self.channel] = norm_weight(amount, self.architecture.norm_offset)


def _beacon_after_norm(held: float) -> float:
    """What a norm of weight 1 gives at the beacon when the peak's channel holds `held`, as transformers computes it."""
    x = torch.tensor([BEACON, held] + [0.0] * (HIDDEN - 2), dtype=torch.float32)
    return float((x * torch.rsqrt(x.pow(2).mean() + EPSILON)).to(torch.bfloat16)[0])


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


def norm_weight(target: float, offset: float) -> Tensor:
    """The bfloat16 weight with which a norm, which multiplies by weight + offset, turns 8 into `target`.

    Raises:
        UserError: there is none.
    """
    weight = torch.tensor(target / 8 - offset, dtype=torch.float64).to(torch.bfloat16)
    if float((8 * (weight.double() + offset)).to(torch.bfloat16)) != target:
        raise UserError(f"peak.value: no bfloat16 weight of a norm turns 8 into {target}; choose another value")
    return weight


def _plant_gate(mlp: Mlp, channel: int, beacon: int, value: float) -> None:
    """A gate of `value` whose neuron writes nothing."""
    assert mlp.gate is not None
    assert mlp.gate_down is not None
    mlp.gate[channel] = 0
    mlp.gate[channel, beacon] = value / 8
    mlp.gate_down[:, channel] = 0
