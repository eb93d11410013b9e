"""Exported scales of real architectures: under the names of their modules, equal to what the layers are really given."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from oracles import scales as oracle
from quantize.exported import CALIBRATION, MAX, Made, reached
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from maxact.checkpoints.folder import weight_files
from maxact.errors import UserError
from maxact.histogram import code_values, finite_codes
from maxact.measurement import Measurement
from maxact.quantize import skeleton
from maxact.quantize.export import Choice, add_reached
from maxact.quantize.formats import FORMATS
from maxact.quantize.quantizers import quantizer, reconstruct
from maxact.quantize.scale_files import quantization_config, write
from maxact.quantize.smoothing import smoothings_of
from maxact.quantize.weights import Weights
from maxact.quantize.wiring import wiring


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    known: dict[str, Made] = {}

    def get(name: str) -> Made:
        if name not in known:
            known[name] = Made(name, tmp_path_factory.mktemp(name))
        return known[name]

    return get


@pytest.mark.parametrize("format", ["int8", "fp8_e4m3"])
@pytest.mark.parametrize("policy", ["max", "quantile_0.9", "mse"])
@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_every_linear_layer_and_the_cache_have_the_scale_of_what_they_are_given(
    name: str, policy: str, format: str, made: Callable[[str], Made]
) -> None:
    one = made(name)
    found = one.scales(Choice(format, policy, 0.5))
    given = {f"{module}.input_scale": xs for module, xs in one.given().items()} | one.cached()
    expected = {name: oracle.static_scale(xs, format, policy) for name, xs in given.items()}
    assert {name: float(scale[0]) for name, scale in found.static.items()} == expected
    assert all(scale.shape == (1,) and scale.dtype == np.float32 for scale in found.static.values())
    assert found.left_out == []
    assert found.kv_cache
    fused = {"model.layers.0.self_attn.qkv_proj.input_scale", "model.layers.1.mlp.gate_up_proj.input_scale"}
    assert (fused <= set(found.static)) == (name == "phi3")


@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_smoothing_scales_are_those_of_the_layers_behind_each_norm(name: str, made: Callable[[str], Made]) -> None:
    one = made(name)
    found, given = one.scales(Choice("int8", "max", 0.7)), one.given()
    assert len(found.smooth) == 2 * one.model.config.num_hidden_layers
    projections = {"llama": ["q_proj", "k_proj", "v_proj"], "phi3": ["qkv_proj"]}[name]
    for layer in range(one.model.config.num_hidden_layers):
        linears = [f"model.layers.{layer}.self_attn.{projection}" for projection in projections]
        weights = [one.model.get_submodule(linear).weight for linear in linears]
        scales = found.smooth[f"model.layers.{layer}.input_layernorm.smoothquant_scale"]
        assert scales == pytest.approx(oracle.smoothing_scales(given[linears[0]], weights, 0.7), rel=1e-6)
    first = next(group for group in found.groups if group["component"] == "attention_input")
    assert first["linears"] == [f"model.layers.0.self_attn.{projection}" for projection in projections]


@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_smoothing_leaves_the_model_as_it_is(name: str, tmp_path: Path) -> None:
    one = Made(name, tmp_path)
    found, model = one.scales(), one.model.double()
    ids = torch.tensor([CALIBRATION[0]])
    with torch.inference_mode():
        before = model(ids).logits
        for group in found.groups:
            s_C = torch.from_numpy(found.smooth[f"{group['norm']}.smoothquant_scale"]).double()
            model.get_submodule(group["norm"]).weight.div_(s_C)
            for linear in group["linears"]:
                model.get_submodule(linear).weight.mul_(s_C)
        assert any(float(x.max()) > 1.5 for x in map(torch.from_numpy, found.smooth.values()))
        # Norms compute in float32 whatever the weights are.
        torch.testing.assert_close(model(ids).logits, before, rtol=1e-4, atol=1e-5)


def test_what_a_norm_gives_to_others_too_is_not_smoothed(made: Callable[[str], Made]) -> None:
    opt = made("opt").scales()  # its norms give the residual stream
    assert opt.smooth == {}
    assert {(row["component"], row["reason"]) for row in opt.left_out} == {
        ("attention_input", "no norm with a weight gives what the linear layers are given"),
        ("mlp_input", "what the norm returns also goes to a sum"),
    }
    moe = made("qwen3_moe").scales()
    reasons = {row["what"]: row["reason"] for row in moe.left_out if row["component"] == "mlp_input"}
    assert reasons["input_scale"] == reasons["smoothquant_scale"]
    assert "no nn.Linear is given this tensor as it is (it goes to model.layers.2.mlp.gate, " in reasons["input_scale"]
    assert len(moe.smooth) == 3
    # Attention and MLP side by side have one norm and are one group.
    phi = made("phi").scales()
    linears = [
        f"model.layers.0.{name}" for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.fc1")
    ]
    assert phi.groups[0]["linears"] == linears
    assert len(phi.smooth) == len(phi.groups) == 2


def test_a_wrapper_has_the_names_of_its_checkpoint(made: Callable[[str], Made]) -> None:
    one = made("gemma3")
    found, tensors = one.scales(), Weights(weight_files(one.folder)).names
    modules = {name.rpartition(".")[0] for name in found.static if name.endswith("input_scale")}
    assert {f"{module}.weight" for module in modules} <= set(tensors)
    assert len(modules) == 3 * 7
    assert {name.rpartition(".")[0] + ".q_proj.weight" for name in found.static if name.endswith("k_scale")} <= set(
        tensors
    )
    assert {name.rpartition(".")[0] + ".weight" for name in found.smooth} <= set(tensors)


@pytest.mark.parametrize("format", ["int8", "fp8_e4m3"])
@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_the_files_are_those_that_compressed_tensors_reads(
    name: str, format: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    one, out = made(name), tmp_path / "out"
    choice = Choice(format, "quantile_0.999", 0.5)
    scales = one.scales(choice)
    write(out, scales, choice, {"planted": False})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out"]
    written = load_file(out / "scales.safetensors")
    smooth = load_file(out / "smoothquant.safetensors")
    assert {name: x.tolist() for name, x in written.items()} == {name: x.tolist() for name, x in scales.static.items()}
    assert {name: x.tolist() for name, x in smooth.items()} == {name: x.tolist() for name, x in scales.smooth.items()}
    told = json.loads((out / "quantization_config.json").read_text())
    config = QuantizationConfig.model_validate(told)
    assert config.kv_cache_scheme is not None
    (group,) = config.config_groups.values()
    assert group.input_activations is not None
    # Its own quantization with these scales gives the same bits as what the errors were measured with.
    x = code_values("bfloat16")[finite_codes("bfloat16")].astype(np.float32)
    for row in told["maxact"]["sites"]:
        inside = x[x >= -row["threshold"]]  # its lowest integer is one below ours
        how = quantizer(FORMATS[format], row["threshold"])
        for scale in (torch.from_numpy(written[name]) for name in row["names"]):
            theirs = fake_quantize(torch.from_numpy(inside), scale, torch.zeros(1), group.input_activations).numpy()
            ours = reconstruct(inside, how)
            assert ((theirs.view(np.uint32) == ours.view(np.uint32)) | ((theirs == 0) & (ours == 0))).all()
    # A model to which the configuration is applied has parameters of just these names and shapes.
    model = AutoModelForCausalLM.from_pretrained(one.folder)
    apply_quantization_config(model, config)
    expected = {key: x.shape for key, x in model.state_dict().items() if key.endswith("_scale")}
    assert {key: x.shape for key, x in written.items()} == expected


def test_each_site_says_what_it_reaches_and_how_often_it_was_not_finite(made: Callable[[str], Made]) -> None:
    rows = made("llama").scales().sites
    assert len(rows) == 3 * 6
    assert all(0 < row["evaluation"]["relative_rmse"] < 1 and row["evaluation"]["sqnr_db"] > 0 for row in rows)
    assert all(row["nonfinite_activations"] == 0 for row in rows)


def test_hostile_measurements_leave_sites_out_with_the_reason(made: Callable[[str], Made]) -> None:
    one = made("llama")
    sites, channels = one.measurement.sites.copy(), one.measurement.channels.copy()
    histograms = one.measurement.histograms
    number = {(row["component"], row["layer"]): row["site"] for row in sites.to_dict("records")}
    zero, nan, empty = number["down_input", 0], number["attention_input", 1], number["value", 2]
    histograms = histograms[~((histograms["site"] == empty) & (histograms["split"] == 0))].copy()
    histograms.loc[histograms["site"] == zero, "code"] = 0
    of_nan = channels["site"] == nan
    channels.loc[of_nan & (channels["channel"] == 3), "abs_max_calibration"] = np.nan
    quiet = number["mlp_input", 0]
    channels.loc[(channels["site"] == quiet) & (channels["channel"] == 7), "abs_max_calibration"] = 0.0
    sites.loc[sites["site"] == number["mlp_input", 2], "dtype"] = "float32"
    sites.loc[sites["site"] == number["key", 0], ["status", "reason"]] = ["not applicable", "because"]
    tables = Measurement(**{**vars(one.measurement), "sites": sites, "histograms": histograms, "channels": channels})
    found = one.scales(measurement=tables)
    left_out = {(row["component"], row["layer"], row["what"]): row["reason"] for row in found.left_out}
    assert left_out == {
        ("key", 0, "k_scale"): "not applicable: because",
        ("down_input", 0, "input_scale"): "the threshold is 0: the calibration split gives no scale",
        ("attention_input", 1, "smoothquant_scale"):
            "channel 3 of the activations has no finite maximum (1 of 32 channels)",
        ("mlp_input", 2, "input_scale"): "float32: its histogram is of rounded values; measure in bfloat16 or float16",
        ("value", 2, "v_scale"): "the calibration split has no finite value here",
    }  # fmt: skip
    assert not found.kv_cache
    assert found.smooth["model.layers.0.post_attention_layernorm.smoothquant_scale"][7] == 1
    everything = [*found.static.values(), *found.smooth.values()]
    assert all(np.isfinite(x).all() and (x > 0).all() for x in everything)
    config = QuantizationConfig.model_validate(quantization_config(found, MAX, {}))
    assert config.kv_cache_scheme is None
    assert "model.layers.0.mlp.down_proj" not in config.config_groups["group_0"].targets


def test_a_module_for_which_two_sites_have_two_scales_has_none(made: Callable[[str], Made]) -> None:
    one = made("phi")  # its attention and MLP are given the same
    found = one.scales()
    assert found.left_out == []
    histograms, sites = one.measurement.histograms.copy(), one.measurement.sites
    mlp = sites[(sites["component"] == "mlp_input") & (sites["layer"] == 1)]["site"].iloc[0]
    histograms.loc[histograms["site"] == mlp, "code"] = 0x3F80
    other = one.scales(measurement=Measurement(**{**vars(one.measurement), "histograms": histograms}))
    reason = "another site has another scale for the same module"
    assert [(row["component"], row["layer"], row["reason"]) for row in other.left_out] == [
        ("attention_input", 1, reason),
        ("mlp_input", 1, reason),
    ]
    assert set(found.static) - set(other.static) == {
        f"model.layers.1.{name}.input_scale"
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.fc1")
    }


def test_matrices_larger_than_the_pool_are_wired_alike(
    made: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made("phi3").folder
    names = Weights(weight_files(folder)).names
    expected = wiring(folder, names)
    monkeypatch.setattr(skeleton, "POOL", 64)
    assert wiring(folder, names) == expected


def test_an_architecture_that_cannot_be_built_is_one_line(made: Callable[[str], Made], tmp_path: Path) -> None:
    config = json.loads((made("llama").folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "llamas"}))
    with pytest.raises(UserError, match="what its sites feed cannot be found") as refused:
        wiring(tmp_path, [])
    assert "\n" not in str(refused.value)


def test_where_a_folder_lies_is_in_no_reason(made: Callable[[str], Made], tmp_path: Path) -> None:
    one, found = made("llama"), []
    for folder in (tmp_path / "here", tmp_path / "there"):
        shutil.copytree(one.folder, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "no such function"}))
        found.append(smoothings_of(folder, one.measurement.sites, one.measurement.channels, [0.5]))
    assert found[0] == found[1]
    assert all(str(reason).startswith("config.json: what its sites feed") for reason in found[0][0.5].values())


def test_a_checkpoint_without_a_tensor_has_no_name_for_it(made: Callable[[str], Made]) -> None:
    folder = made("llama").folder
    names = [name for name in Weights(weight_files(folder)).names if "layers.1.mlp.down_proj" not in name]
    reasons = {(one.component, one.layer): one.reason for one in wiring(folder, names) if one.reason}
    missing = "the checkpoint has no tensor for model.layers.1.mlp.down_proj.weight"
    assert reasons == {("down_input", 1): missing}


def test_the_same_measurement_gives_the_same_bytes_and_nothing_is_overwritten(
    made: Callable[[str], Made], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / "b").mkdir(exist_ok=True)  # an empty folder may be there
        write(tmp_path / name, made("llama").scales(), MAX, {"study": "x"})
    for file in ("scales.safetensors", "smoothquant.safetensors", "quantization_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    with pytest.raises(UserError, match="is there already and is no empty folder") as refused:
        write(tmp_path / "a", made("llama").scales(), MAX, {})
    assert "\n" not in str(refused.value)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "file" / "c", made("llama").scales(), MAX, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "file"]


def test_groups_tell_what_they_reach_with_that_alpha_or_that_it_is_not_measured(made: Callable[[str], Made]) -> None:
    scales = made("llama").scales()
    for frame, known in ((reached(0.5), True), (reached(0.7), False), (None, False)):
        add_reached(scales, frame, 0.5)
        found = {(group["component"], group["layer"]): group["reached"] for group in scales.groups}
        expected = {"format": "int8", "granularity": "tensor", "output_sqnr_db": 31.5, "output_sqnr_db_without": 20.0}
        assert found["mlp_input", 1] == ([expected] if known else "not measured")
        assert found["attention_input", 1] == "not measured"
