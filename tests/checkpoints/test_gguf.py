"""GGUF is dequantized to the numbers that its own reference gives, and told apart from what was released."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open

from maxact.checkpoints.gguf import ancestry, convert
from maxact.checkpoints.load import load_model
from maxact.errors import UserError

pytestmark = pytest.mark.xdist_group("gguf")


@pytest.fixture(scope="module")
def reader(smollm2_gguf: Path) -> gguf.GGUFReader:
    return gguf.GGUFReader(smollm2_gguf)


def test_the_ancestry_counts_the_files_own_types(smollm2_gguf: Path, reader: gguf.GGUFReader) -> None:
    told = ancestry(smollm2_gguf)
    kinds = [tensor.tensor_type.name for tensor in reader.tensors]
    assert told.startswith("dequantized from GGUF Q4_1 (")
    assert f"{kinds.count('Q4_1')} Q4_1" in told
    assert f"{kinds.count('F32')} F32" in told


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF keeps a Llama head's rotary pairs side by side, transformers half a head apart."""
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


@pytest.mark.parametrize(
    ("theirs", "ours", "heads"),
    [
        ("token_embd.weight", "model.embed_tokens.weight", 0),
        ("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight", 0),
        ("blk.7.attn_q.weight", "model.layers.7.self_attn.q_proj.weight", 9),
        ("blk.7.attn_k.weight", "model.layers.7.self_attn.k_proj.weight", 3),
        ("output_norm.weight", "model.norm.weight", 0),
    ],
)
def test_weights_equal_those_of_ggufs_own_dequantization(
    theirs: str, ours: str, heads: int, reader: gguf.GGUFReader, smollm2: Path
) -> None:
    tensor = next(item for item in reader.tensors if item.name == theirs)
    expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    expected = permuted(expected, heads) if heads else expected
    with safe_open(smollm2 / "model.safetensors", "pt") as stored:
        assert torch.equal(stored.get_tensor(ours), torch.from_numpy(expected.copy()).to(torch.bfloat16))


def test_the_converted_checkpoint_opens_and_names_no_path(smollm2: Path, smollm2_gguf: Path) -> None:
    assert load_model(smollm2, expected_model_type="llama").config.num_hidden_layers == 30
    for file in smollm2.glob("*.json"):
        assert str(smollm2_gguf.parent) not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("keep", [0, 100, 1_000_000, 90_000_000])
def test_a_truncated_file_is_refused_in_one_line(keep: int, smollm2_gguf: Path, tmp_path: Path) -> None:
    file = tmp_path / "cut.gguf"
    with smollm2_gguf.open("rb") as stream:
        file.write_bytes(stream.read(keep))
    with pytest.raises(UserError, match=r"cut\.gguf: ") as caught:
        convert(file, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "text.gguf"
    file.write_text("not a model" * 1000)
    with pytest.raises(UserError, match="not readable as GGUF"):
        ancestry(file)
