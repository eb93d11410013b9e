"""A checkpoint that would be opened wrongly is refused in one line; a good one is opened as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from maxact.checkpoints.folder import folder_digest
from maxact.checkpoints.load import load_model
from maxact.errors import UserError


def test_a_good_checkpoint_has_the_weights_of_its_file(llama: Path) -> None:
    model = load_model(llama, expected_model_type="llama")
    stored = load_file(llama / "model.safetensors")
    assert not model.training
    assert {name: tensor.dtype for name, tensor in model.state_dict().items()} == dict.fromkeys(stored, torch.bfloat16)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())


def test_the_dtype_asked_for_is_the_dtype_of_the_weights(llama: Path) -> None:
    assert load_model(llama, dtype="float16").dtype == torch.float16
    assert load_model(llama, dtype="float32").dtype == torch.float32


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def truncate(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


NORM = "model.norm.weight"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no configuration": (lambda f: (f / "config.json").unlink(), r"no config\.json"),
    "configuration that is not JSON": (lambda f: truncate(f / "config.json", 40), r"config\.json: not a JSON object"),
    "configuration without model_type": (lambda f: (f / "config.json").write_text("{}"), "no model_type"),
    "another family": (lambda f: edit_config(f, model_type="qwen2"), "'qwen2', its family declares 'llama'"),
    "truncated data": (lambda f: truncate(f / "model.safetensors", 5000), "its header says"),
    "truncated header": (lambda f: truncate(f / "model.safetensors", 100), "not readable as safetensors"),
    "empty file": (lambda f: truncate(f / "model.safetensors", 0), "not readable as safetensors"),
    "not safetensors": (lambda f: (f / "model.safetensors").write_bytes(b"PK" * 4000), "not readable as safetensors"),
    "a link to weights that are gone": (
        lambda f: (f / "model.safetensors").rename(f / "gone") and (f / "model.safetensors").symlink_to("nowhere"),
        r"model\.safetensors: cannot be read \(No such file or directory\)",
    ),
    "a folder in the place of weights": (
        lambda f: (f / "model.safetensors").rename(f / "gone") and (f / "model.safetensors").mkdir(),
        r"model\.safetensors: cannot be read \(Is a directory\); make it readable",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"no \*\.safetensors"),
    "pickle only": (only_pickle, r"pytorch_model\.bin: pickled weights can run code"),
    "a missing tensor": (lambda f: edit_weights(f, lambda t: t.pop(NORM)), f"1 tensors are missing, such as '{NORM}'"),
    "a tensor left over": (
        lambda f: edit_weights(f, lambda t: t.update(more=torch.ones(2))),
        "left over, such as 'more'",
    ),
    "another shape": (lambda f: edit_weights(f, lambda t: t.update({NORM: torch.ones(31)})), "another shape"),
    "an index that names a missing shard": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}'),
        r"names model-2\.safetensors, which is not there",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_in_one_line(damage: str, llama: Path) -> None:
    change, expected = DAMAGES[damage]
    change(llama)
    with pytest.raises(UserError, match=expected) as caught:
        load_model(llama, expected_model_type="llama")
    assert "\n" not in str(caught.value)
    assert str(llama) in str(caught.value)


def test_an_architecture_with_code_of_its_own_is_refused(llama: Path) -> None:
    edit_config(llama, model_type="mystery", auto_map={"AutoModelForCausalLM": "modeling.Mystery"})
    with pytest.raises(UserError, match="needs code of its own, which is not run"):
        load_model(llama)


def test_the_digest_of_a_folder_follows_what_counts(llama: Path) -> None:
    before = folder_digest(llama)
    (llama / "README.md").write_text("text")
    assert folder_digest(llama) == before
    edit_config(llama, rope_theta=1.0)
    assert folder_digest(llama) != before


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], dict[str, Any]]:
    """Stand-in for a torch with CUDA and so many GPUs; what transformers is then asked is returned as it is asked."""

    def pretend(gpus: int) -> dict[str, Any]:
        asked: dict[str, Any] = {}
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        opener = AutoModelForCausalLM.from_pretrained

        def opened(*arguments: Any, device_map: Any = None, **keywords: Any) -> Any:
            asked["device_map"] = device_map
            return opener(*arguments, **keywords)

        monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", opened)
        return asked

    return pretend


@pytest.mark.parametrize(("device", "gpus", "expected"), [("cpu", 2, None), ("cuda", 1, "cuda:0"), ("cuda", 3, "auto")])
def test_a_model_goes_to_the_one_gpu_or_is_spread_over_all(
    device: str, gpus: int, expected: str | None, llama: Path, with_cuda: Callable[[int], dict[str, Any]]
) -> None:
    asked = with_cuda(gpus)
    load_model(llama, device=device)
    assert asked["device_map"] == expected


def test_a_torch_that_cannot_use_a_gpu_is_told(
    llama: Path, with_cuda: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cuda(0)
    with pytest.raises(UserError, match="torch sees no GPU"):
        load_model(llama, device="cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match="is built without CUDA; run `make gpu`"):
        load_model(llama, device="cuda")


def test_a_model_that_does_not_fit_on_its_gpus_is_refused(
    llama: Path, with_cuda: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cuda(2)
    spread = {"model": 0, "lm_head": "cpu"}
    monkeypatch.setattr(LlamaForCausalLM, "hf_device_map", spread, raising=False)
    with pytest.raises(UserError, match="does not fit on 2 GPUs; give it more"):
        load_model(llama, device="cuda")
