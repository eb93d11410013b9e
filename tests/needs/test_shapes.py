"""The size of a checkpoint is told by its configuration and headers, and by nothing else."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from measure.models import tiny

from maxact.checkpoints.planted.registry import PLANTED
from maxact.needs.shapes import PLANTED_SHAPE, elements, shape_of, shape_of_checkpoint
from maxact.store.objects import Manifest, Store
from maxact.study import Checkpoint, Study
from maxact.study.shape import Shape

QWEN3_30B = {
    "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_attention_heads": 32, "head_dim": 128,
    "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4, "vocab_size": 151936,
}  # fmt: skip


def test_a_dense_configuration_is_read() -> None:
    config = {"num_hidden_layers": 64, "hidden_size": 5120, "num_attention_heads": 40, "num_key_value_heads": 8}
    found = shape_of({**config, "intermediate_size": 27648, "vocab_size": 152064}, 32_763_876_352)
    assert found is not None
    assert (found.head_size, found.intermediate_size, found.experts) == (128, 27648, 0)


def test_of_a_mixture_the_routed_experts_and_the_shared_ones_are_told_apart() -> None:
    found = shape_of(QWEN3_30B, 30_532_122_624)
    assert found is not None
    assert (found.experts, found.experts_per_token, found.expert_size, found.intermediate_size) == (128, 8, 768, 0)
    shared = shape_of({**QWEN3_30B, "shared_expert_intermediate_size": 512}, 30_532_122_624)
    assert shared is not None
    assert shared.intermediate_size == 512


def test_a_wrapper_is_its_text_decoder() -> None:
    found = shape_of({"model_type": "gemma3", "hidden_size": 7, "text_config": QWEN3_30B}, 1)
    assert found is not None
    assert found.hidden_size == 2048


@pytest.mark.parametrize("lacking", ["num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size"])
def test_a_configuration_without_its_sizes_tells_nothing(lacking: str) -> None:
    config: dict[str, Any] = dict(QWEN3_30B)
    for value in (None, "2048", 0, -1, []):
        assert shape_of(config | {lacking: value}, 1) is None
    assert shape_of({}, 1) is None
    assert shape_of(config, 0) is None


def test_packed_weights_count_twice_and_their_scales_not_at_all() -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "BF16", "shape": [3, 5], "data_offsets": [0, 30]},
        "b_blocks": {"dtype": "U8", "shape": [2, 4, 16], "data_offsets": [30, 158]},
        "b_scales": {"dtype": "U8", "shape": [2, 4], "data_offsets": [158, 166]},
    }
    assert elements(header) == 15 + 256


@pytest.mark.parametrize("model_type", ["llama", "qwen3_moe", "gpt_oss", "gemma3"])
def test_a_folder_is_as_transformers_made_it(model_type: str, tmp_path: Path, pocket: Study) -> None:
    model = tiny(model_type)
    model.save_pretrained(tmp_path)
    found = shape_of_checkpoint(pocket, in_folder(pocket, tmp_path), tmp_path / "none")
    assert found is not None
    text = model.config.get_text_config()
    assert (found.layers, found.hidden_size) == (text.num_hidden_layers, text.hidden_size)
    tied = text.vocab_size * text.hidden_size * text.tie_word_embeddings
    assert found.parameters == sum(tensor.numel() for tensor in model.state_dict().values()) - tied


def test_a_folder_that_is_not_there_or_damaged_is_unknown(tmp_path: Path, pocket: Study) -> None:
    checkpoint = in_folder(pocket, tmp_path)
    for name, data in {"config.json": json.dumps(QWEN3_30B).encode(), "model.safetensors": b"\xff" * 20}.items():
        assert shape_of_checkpoint(pocket, checkpoint, tmp_path) is None
        (tmp_path / name).write_bytes(data)
    assert shape_of_checkpoint(pocket, checkpoint, tmp_path) is None


def in_folder(study: Study, folder: Path) -> Checkpoint:
    source = {"kind": "folder", "path": str(folder), "sha256": "0" * 64}
    fields = {"name": "a", "family": "smollm2", "source": source, "perplexity_ceiling": 40.0}
    return Checkpoint.model_validate(fields)


def test_what_the_store_has_taken_is_known_from_its_manifest(tmp_path: Path, pocket: Study) -> None:
    checkpoint, store = pocket.checkpoints[0], Store(tmp_path)
    assert shape_of_checkpoint(pocket, checkpoint, tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_30B))
    item = store.put(tmp_path / "config.json")
    manifest = Manifest(
        "checkpoint", checkpoint.name, "0" * 64, {}, {"config.json": item}, {"parameters": 30_532_122_624}
    )
    file = tmp_path / pocket.study / "checkpoint" / f"{checkpoint.name}.json"
    file.parent.mkdir(parents=True)
    file.write_text(manifest.to_json())
    assert shape_of_checkpoint(pocket, checkpoint, tmp_path) == shape_of(QWEN3_30B, 30_532_122_624)
    absent = Manifest("checkpoint", checkpoint.name, "0" * 64, {}, {}, {"unavailable": "its wheel is gone"})
    file.write_text(absent.to_json())
    assert shape_of_checkpoint(pocket, checkpoint, tmp_path) is None


@pytest.mark.parametrize("model_type", PLANTED)
def test_no_planted_checkpoint_is_larger_than_is_said(model_type: str, tmp_path: Path, pocket: Study) -> None:
    architecture = importlib.import_module(PLANTED[model_type]).ARCHITECTURE
    model = architecture.make(4, 4096, 256)
    model.save_pretrained(tmp_path)
    found = shape_of_checkpoint(pocket, in_folder(pocket, tmp_path), tmp_path / "none")
    families = {
        **pocket.families,
        "planted-qwen2": pocket.families["planted-qwen2"].model_copy(update={"model_type": model_type}),
    }
    pocket = pocket.model_copy(update={"families": families})
    planted = pocket.checkpoint("planted-qwen2")
    source = planted.source.model_copy(update={"layers": 4})
    said = shape_of_checkpoint(pocket, planted.model_copy(update={"source": source}), tmp_path / "none")
    assert isinstance(found, Shape)
    assert isinstance(said, Shape)
    assert set(PLANTED_SHAPE) < set(Shape.model_fields)
    larger = {name: (number, getattr(said, name)) for name, number in found if number > getattr(said, name)}
    assert not larger
