"""Exported scales of real architectures: under the names of their modules, equal to what the layers are really given."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from measure.models import tiny
from oracles import scales as oracle
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, OPTConfig, Phi3Config, PhiConfig
from workflow.harness import small_study

from maxact.checkpoints.folder import weight_files
from maxact.cli import main
from maxact.errors import UserError
from maxact.histogram import code_values, finite_codes
from maxact.measure.run import Sample, measure
from maxact.measurement import Measurement
from maxact.quantize import skeleton
from maxact.quantize.export import Choice, Scales, add_reached, scales_of
from maxact.quantize.formats import FORMATS
from maxact.quantize.quantizers import quantizer, reconstruct
from maxact.quantize.scale_files import quantization_config, write
from maxact.quantize.smoothed import SMOOTHING
from maxact.quantize.smoothing import smoothings_of
from maxact.quantize.weights import Weights
from maxact.quantize.wiring import wiring
from maxact.sites.components import COMPONENTS, PAPER
from maxact.store.objects import Manifest, Store

SAMPLES = [
    Sample(0, "calibration", [5, 9, 2, 40, 7, 3]),
    Sample(1, "calibration", [11, 4, 60]),
    Sample(2, "evaluation", [8, 33, 21, 6, 90]),
    Sample(3, "rest", [1, 2]),
]
CALIBRATION = [sample.token_ids for sample in SAMPLES if sample.split == "calibration"]
SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": None,
}  # fmt: skip
MAX = Choice("int8", "max", 0.5)


def model_of(name: str) -> Any:
    configs: dict[str, Callable[[], Any]] = {
        "phi3": lambda: Phi3Config(**SIZES),
        "phi": lambda: PhiConfig(**SIZES),
        "opt": lambda: OPTConfig(
            vocab_size=96, hidden_size=32, ffn_dim=56, num_hidden_layers=1, num_attention_heads=4, word_embed_proj_dim=32,
            max_position_embeddings=64, do_layer_norm_before=False,
        ),
    }  # fmt: skip
    if name not in configs:
        return tiny(name)
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(configs[name](), dtype=torch.bfloat16).eval()


class Made:
    """A tiny checkpoint in a folder, and its measurement with every component."""

    def __init__(self, name: str, folder: Path) -> None:
        self.model = model_of(name)
        self.model.save_pretrained(folder)
        self.folder = folder
        self.measurement = measure(self.model, SAMPLES, list(COMPONENTS))

    def scales(self, choice: Choice = MAX, measurement: Measurement | None = None) -> Scales:
        weights = Weights(weight_files(self.folder))
        tables = measurement or self.measurement
        fed = wiring(self.folder, weights.names)
        return scales_of(tables.sites, tables.histograms, tables.channels, fed, weights, choice)

    def given(self) -> dict[str, list[torch.Tensor]]:
        """What each linear layer is given for each calibration sample, caught by plain hooks, by the layer's name."""
        caught: dict[str, list[torch.Tensor]] = {}
        linears = {name: one for name, one in self.model.named_modules() if isinstance(one, torch.nn.Linear)}
        handles = [
            one.register_forward_pre_hook(lambda _, x, name=name: caught.setdefault(name, []).append(x[0][0].clone()))
            for name, one in linears.items()
        ]
        with torch.inference_mode():
            for ids in CALIBRATION:
                self.model(torch.tensor([ids]))
        for handle in handles:
            handle.remove()
        return {name: xs for name, xs in caught.items() if name != "lm_head"}

    def cached(self) -> dict[str, list[torch.Tensor]]:
        """What the model's own cache holds after each calibration sample, by the name of its scale."""
        caught: dict[str, list[torch.Tensor]] = {}
        with torch.inference_mode():
            for ids in CALIBRATION:
                cache = self.model(torch.tensor([ids]), use_cache=True).past_key_values
                for number, layer in enumerate(cache.layers):
                    name = f"model.layers.{number}.self_attn"
                    caught.setdefault(f"{name}.k_scale", []).append(layer.keys.clone())
                    caught.setdefault(f"{name}.v_scale", []).append(layer.values.clone())
        return caught


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


@pytest.fixture
def study(made: Callable[[str], Made], tmp_path: Path) -> Path:
    """The file of a study, and beside it a store in which its checkpoint planted-qwen2 is measured; the other is not."""
    described = small_study()
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    put(tmp_path / "artifacts", made("qwen2"), list(COMPONENTS))
    return tmp_path / "study.yaml"


def reached(alpha: float) -> pd.DataFrame:
    """As `smoothing.parquet`, for one site."""
    row = {"component": "mlp_input", "layer": 1, "format": "int8", "granularity": "tensor"}
    rows = [row | {"alpha": None, "output_sqnr_db": 20.0}, row | {"alpha": alpha, "output_sqnr_db": 31.5}]
    return pa.Table.from_pylist(rows, schema=SMOOTHING).to_pandas()


def test_groups_tell_what_they_reach_with_that_alpha_or_that_it_is_not_measured(made: Callable[[str], Made]) -> None:
    scales = made("llama").scales()
    for frame, known in ((reached(0.5), True), (reached(0.7), False), (None, False)):
        add_reached(scales, frame, 0.5)
        found = {(group["component"], group["layer"]): group["reached"] for group in scales.groups}
        expected = {"format": "int8", "granularity": "tensor", "output_sqnr_db": 31.5, "output_sqnr_db_without": 20.0}
        assert found["mlp_input", 1] == ([expected] if known else "not measured")
        assert found["attention_input", 1] == "not measured"


def put(root: Path, one: Made, components: list[str]) -> None:
    """What stages would have put into a store."""
    store, name = Store(root), "planted-qwen2"

    def add(stage: str, files: dict[str, Path], summary: dict[str, Any], recipe: Any, inputs: dict[str, str]) -> str:
        key = {"checkpoint": "a", "tokens": "b", "measure": "c"}[stage] * 64
        objects = {name: store.put(file) for name, file in files.items()}
        made = Manifest(stage, name, key, recipe, objects, summary)
        record = json.loads(made.to_json()) | {"inputs": inputs}
        store.record_action(key, record)
        path = root / "small" / stage / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made.to_json())
        return key

    scratch = root / "scratch"
    scratch.mkdir(parents=True)
    copies = {}
    for file in sorted(one.folder.glob("*")):
        copies[file.name] = scratch / file.name
        copies[file.name].write_bytes(file.read_bytes())
    about = {"source": "this software", "ancestry": "planted", "licence": "Apache-2.0"}
    inputs = {
        "checkpoint": add("checkpoint", copies, about, {"parameters": {"source": {"kind": "planted"}}}, {}),
        "tokens": add("tokens", {}, {"splits": {"calibration": 2, "evaluation": 1, "rest": 1}}, {"parameters": {}}, {}),
    }
    tables = measure(one.model, SAMPLES, components).write(scratch / "tables")
    add("measure", tables, {}, {"parameters": {"dtype": "bfloat16"}}, inputs)


def told(capsys: pytest.CaptureFixture[str], study: Path, *arguments: object) -> tuple[int, str]:
    from maxact.store import workspace

    code = main(["scales", str(study), *map(str, arguments), "--store", str(study.parent / "artifacts")])
    for stream in workspace._HELD:  # as the end of the process would
        stream.close()
    workspace._HELD.clear()
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("measurement", ["c" * 64, "d" * 64])
def test_the_command_tells_what_the_evaluation_of_this_very_measurement_reached(
    measurement: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(study.parent / "artifacts")
    file = study.parent / "smoothing.parquet"
    pq.write_table(pa.Table.from_pandas(reached(0.5), SMOOTHING, preserve_index=False), file)
    made = Manifest("evaluate", "planted-qwen2", "e" * 64, {}, {"smoothing.parquet": store.put(file)}, {})
    store.record_action(made.key, json.loads(made.to_json()) | {"inputs": {"measure": measurement}})
    path = store.root / "small" / "evaluate" / "planted-qwen2.json"
    path.parent.mkdir()
    path.write_text(made.to_json())
    code, printed = told(capsys, study, "planted-qwen2", "--out", study.parent / "out")
    assert code == 0, printed
    groups = json.loads((study.parent / "out" / "quantization_config.json").read_text())["maxact"]["smoothquant"]
    (told_of,) = [group["reached"] for group in groups if (group["component"], group["layer"]) == ("mlp_input", 1)]
    assert (told_of == "not measured") == (measurement != "c" * 64)


def test_the_command_exports_a_stored_measurement(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = study.parent / "out"
    code, printed = told(
        capsys, study, "planted-qwen2", "--out", out, "--format", "fp8_e4m3", "--policy", "mse", "--alpha", "0.6"
    )
    assert code == 0, printed
    assert printed.startswith(
        f"{out}: planted-qwen2 (planted): 21 input scales, 6 of keys and values, 6 of SmoothQuant; 0 left"
    )
    about = json.loads((out / "quantization_config.json").read_text())["maxact"]
    assert "planted" in about["planted"]
    assert (about["study"], about["checkpoint"], about["ancestry"]) == ("small", "planted-qwen2", "planted")
    assert (about["format"], about["policy"], about["alpha"]) == ("fp8_e4m3", "mse", 0.6)
    assert (about["calibration_samples"], about["not_measured"], about["left_out"]) == (2, [], [])
    assert about["measurement"]["action"] == "c" * 64
    assert len(about["sites"]) == 18
    assert not list((study.parent / "artifacts" / "scratch").glob("tmp*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["planted-qwen9"],
            "error: planted-qwen9: not a checkpoint of the study 'small'; did you mean 'planted-qwen2'?",
        ),
        (["planted-qwen3-moe"], "error: planted-qwen3-moe: not measured yet; run snakemake --cores all --configfile "),
        (
            ["planted-qwen2", "--policy", "most"],
            "error: --policy most: not a policy; say max, mse, entropy or quantile_0.",
        ),
        (["planted-qwen2", "--alpha", "1.5"], "error: --alpha 1.5: not from 0 to 1"),
        (["planted-qwen2", "--alpha", "nan"], "error: --alpha nan: not from 0 to 1"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = told(capsys, study, *arguments, "--out", study.parent / "out")
    assert code == 2
    assert printed.startswith(message)
    assert printed.count("\n") == 1
    assert not (study.parent / "out").exists()


def test_a_folder_with_something_in_it_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = told(capsys, study, "planted-qwen2", "--out", study.parent)
    assert (code, printed) == (
        2, f"error: --out {study.parent}: is there already and is no empty folder; give another, or remove it\n"
    )  # fmt: skip


def test_a_measurement_of_the_papers_components_has_nothing_to_export(
    made: Callable[[str], Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(small_study(), sort_keys=False))
    put(tmp_path / "artifacts", made("qwen2"), list(PAPER))
    code, printed = told(capsys, tmp_path / "study.yaml", "planted-qwen2", "--out", tmp_path / "out")
    assert code == 2
    assert "none of attention_input, attention_context, mlp_input, down_input, key, value was measured; " in printed
    assert "add them to measure.components, or say `all`" in printed
    assert printed.count("\n") == 1
