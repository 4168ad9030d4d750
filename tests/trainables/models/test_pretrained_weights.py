import json
import math
import pickle
import re
import shutil
import urllib.error
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.networks import last_layer, new_network
from trainables.core.config_errors import ConfigError
from trainables.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from trainables.models.build_model import build_model
from trainables.models.pretrained_weights import fingerprint
from trainables.models.published_networks import pretrained
from trainables.recipe.backbone_catalog import BACKBONES
from trainables.recipe.model_config import ModelConfig

BACKBONE = "mobilenet_v3_small"


@pytest.fixture(scope="module")
def published():
    """A whole network's state under torchvision's names, as a weight file holds it."""
    torch.manual_seed(11)
    return new_network(BACKBONE).state_dict()


def of_file(path, backbone=BACKBONE):
    return ModelConfig(backbone=backbone, weights=str(path))


def without_head(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("classifier.3.")}


def prefixed(state):
    return {f"module.{name}": tensor for name, tensor in state.items()}


def in_precision(dtype):
    return lambda state: {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}


def of(*prefixes):
    """A network's names below each prefix; below those after the first, other values."""
    return lambda state: {
        f"{prefix}{name}": tensor if prefix == prefixes[0] else torch.zeros_like(tensor)
        for prefix in reversed(prefixes)
        for name, tensor in state.items()
    }


def other(state):
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


LAYOUTS = {
    "torchvision's": dict,
    "data parallel's prefix": prefixed,
    "wrapped": lambda state: {"epoch": 3, "state_dict": dict(state)},
    "wrapped, with prefix": lambda state: {"state_dict": prefixed(state)},
    "without the last layer": without_head,
    "another number of classes": lambda state: {**state, "classifier.3.weight": torch.zeros(7, 1024)},
    "half precision": in_precision(torch.float16),
    "bfloat16": in_precision(torch.bfloat16),
    "double precision": in_precision(torch.float64),
    "a compiled network's prefix": of("_orig_mod."),
    "both prefixes": of("module._orig_mod."),
    "Lightning": lambda s: {"epoch": 3, "state_dict": {**of("model.")(s), "loss.weight": torch.ones(4)}, "loops": {}},
    "an average beside it": lambda s: {"model_ema": other(s), "model": dict(s), "optimizer": {"state": {}}},
    "DINO": lambda s: {"student": of("module.backbone.")(other(s)), "teacher": of("backbone.")(s), "epoch": 1},
    "two networks side by side": of("encoder.", "encoder_ema."),
    "without batch counters": lambda state: {n: t for n, t in state.items() if "num_batches" not in n},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_weight_file_is_understood(layout, published, tmp_path):
    content = layout(published)
    used = {n: t.to(content[n].dtype).float() if n in content else t for n, t in published.items()}
    torch.save(content, tmp_path / "weights.pth")
    generator = torch.Generator().manual_seed(0)
    built = build_model(of_file(tmp_path / "weights.pth"), classes=4, cosine_scale=None, generator=generator)
    assert (built.mean, built.std) == (IMAGENET_MEAN, IMAGENET_STD)
    state = built.model.state_dict()
    for position in range(len(BACKBONES[BACKBONE].blocks)):
        part = f"features.{position}."
        for name in (name for name in published if name.startswith(part)):
            assert torch.equal(state[f"blocks.{position}.{name.removeprefix(part)}"], used[name]), name
    assert torch.equal(state["head.hidden.0.weight"], used["classifier.0.weight"])
    assert {tensor.dtype for tensor in state.values()} <= {torch.float32, torch.int64}
    assert state["head.last.weight"].shape == (4, 1024)


SAID = {
    "plain": (dict, r"242 tensors; not used: the last layer \(1000 outputs\)"),
    "in safetensors": (dict, r"242 tensors; not used: the last layer \(1000 outputs\)"),
    "without a last layer": (without_head, "242 tensors"),
    "in half precision": (in_precision(torch.float16), "242 tensors, float16 as float32; not used: the last layer .*"),
    "Lightning": (
        LAYOUTS["Lightning"],
        "242 tensors of state_dict without the prefix 'model.'; .* and 1 other tensors",
    ),
    "an average": (LAYOUTS["an average beside it"], "242 tensors of model; .*; model_ema would fit, too"),
    "DINO": (LAYOUTS["DINO"], "242 tensors of teacher without the prefix 'backbone.'; .*; student would fit, too"),
}


@pytest.mark.parametrize("name", SAID)
def test_a_line_says_what_was_taken_of_a_file(name, published, tmp_path):
    layout, said = SAID[name]
    file = tmp_path / ("w.safetensors" if "safetensors" in name else "w.ckpt")
    (save_file if "safetensors" in name else torch.save)(layout(published), file)
    assert re.fullmatch(rf"{file.name}: {said}", pretrained(of_file(file)).source)


@pytest.mark.parametrize("backbone", ["resnet18", BACKBONE])
def test_a_model_that_thaw_exported_can_be_trained_on(backbone, tmp_path):
    """With the normalisation that its images had."""
    torch.manual_seed(3)
    torch.save(new_network(backbone).state_dict(), tmp_path / "first.pth")
    first = build_model(
        of_file(tmp_path / "first.pth", backbone), classes=2, cosine_scale=None, generator=torch.Generator()
    )
    save_file(
        {name: tensor.contiguous() for name, tensor in first.model.state_dict().items()}, tmp_path / "model.safetensors"
    )
    facts = {"backbone": backbone, "input": {"mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]}}
    (tmp_path / "model.json").write_text(json.dumps(facts))
    config = of_file(tmp_path / "model.safetensors", backbone)
    second = build_model(config, classes=5, cosine_scale=None, generator=torch.Generator())
    assert (second.mean, second.std) == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    theirs = first.model.state_dict()
    assert all(torch.equal(t, theirs[n]) for n, t in second.model.state_dict().items() if not n.startswith("head.last"))
    assert "the last layer (2 outputs)" in pretrained(config).source
    with pytest.raises(ConfigError, match=rf"is a {backbone}, not a resnet34"):
        pretrained(of_file(tmp_path / "model.safetensors", "resnet34"))
    (tmp_path / "model.json").unlink()
    pretrained.cache_clear()
    with pytest.raises(
        ConfigError, match=r"was written by Thaw; .* give model.safetensors in the folder that `thaw export"
    ):
        pretrained(config)


def test_the_fingerprint_of_a_file_is_that_of_what_is_used_of_it(published, tmp_path):
    prints = []
    moved = {**published, "features.0.0.weight": published["features.0.0.weight"] + 1e-6}
    for name, state in {"whole": published, "body": without_head(published), "moved": moved}.items():
        torch.save(dict(state), tmp_path / f"{name}.pt")
        prints.append(pretrained(of_file(tmp_path / f"{name}.pt")).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_a_fingerprint_covers_names_shapes_types_and_values():
    tensor = torch.zeros(4)
    states = [
        {"a": tensor},
        {"b": tensor},
        {"a": tensor.view(2, 2)},
        {"a": tensor.int()},
        {"a": tensor + 1},
        {"a": tensor, "b": tensor},
    ]
    assert len({fingerprint(state) for state in states}) == len(states)
    assert fingerprint({"a": tensor, "b": tensor + 1}) == fingerprint({"b": tensor + 1, "a": tensor})


# --- files that cannot be used --------------------------------------------------------------------------------------


class RunsCode:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("save", [torch.save, lambda bad, path: path.write_bytes(pickle.dumps(bad, protocol=2))])
def test_a_hostile_weight_file_is_refused_and_runs_no_code(save, published, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "weights.pth"
    save({**published, "classifier.3.bias": RunsCode(trace)}, path)
    with pytest.raises(
        ConfigError, match=r"model\.weights: .*weights\.pth is not a file of tensors that torch can load"
    ):
        pretrained(of_file(path))
    assert not trace.exists()


def _truncated(state, path):
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])


SAFELY = "is not a file of tensors that torch can load safely"


def _with(name, value):
    return lambda state, path: torch.save({**state, name: value(state[name])}, path)


def _at(tensor, value):
    changed = tensor.clone()
    changed.view(-1)[0] = value
    return changed


UNUSABLE = {
    "truncated": (_truncated, SAFELY),
    "empty": (lambda _, path: path.touch(), SAFELY),
    "a pickle of nothing": (lambda _, path: path.write_bytes(b"\x80\x02."), SAFELY),
    "text": (lambda _, path: path.write_text(json.dumps({"a": 1})), SAFELY),
    "a whole module": (
        lambda _, path: torch.save(torch.nn.Linear(2, 2), path),
        rf"{SAFELY}: it holds Python objects, such as a whole network; .* torch.save\(network.state_dict\(\)",
    ),
    "a list": (lambda state, path: torch.save(list(state.values()), path), "does not hold a state dict"),
    "not a number": (
        _with("features.0.0.weight", lambda t: _at(t, math.nan)),
        "features.0.0.weight has values that are not finite: the training .* diverged; give an earlier file",
    ),
    "beyond float32": (
        _with("features.0.0.weight", lambda t: _at(t.double(), 1e300)),
        "features.0.0.weight has values",
    ),
    "quantised": (_with("features.0.0.weight", torch.Tensor.char), "features.0.0.weight is int8; quantised weights"),
    "without statistics": (
        lambda state, path: torch.save({n: t for n, t in state.items() if "running" not in n}, path),
        r"lacks the running statistics of BatchNorm \(features.0.1.running_mean, .*: save the whole state_dict\(\)",
    ),
    "no tensors": (lambda _, path: torch.save({"a": 1}, path), "does not hold a state dict"),
}


@pytest.mark.parametrize(("write", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_holds_no_weights_is_refused(write, message, published, tmp_path):
    path = tmp_path / "weights.pth"
    write(published, path)
    with pytest.raises(ConfigError, match=rf"^model\.weights: .*weights\.pth:? {message}"):
        pretrained(of_file(path))


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(ConfigError, match=r"^model\.weights: .*absent\.pt does not exist$"):
        pretrained(of_file(tmp_path / "absent.pt"))


def _reshaped(state):
    return {**state, "features.1.block.0.0.weight": torch.zeros(1)}


def _lacking(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("features.12.")}


WRONG = {
    "another architecture": ("resnet18", dict, r"conv1.weight, bn1.weight, bn1.bias, … and \d+ more do not fit"),
    "a larger sibling": ("mobilenet_v3_large", dict, "features.1.block.1.0.weight, .* do not fit.*"),
    "a shape": (
        BACKBONE,
        _reshaped,
        r"features.1.block.0.0.weight does not fit \(.*weight is \[1\], not \[16, 1, 3, 3\]\)",
    ),
    "a missing block": (
        BACKBONE,
        _lacking,
        "features.12.0.weight, features.12.1.weight, features.12.1.bias, … and 2 more do not fit",
    ),
    "a stranger": (BACKBONE, lambda state: {**state, "extra.weight": torch.zeros(1)}, "extra.weight does not fit"),
}


@pytest.mark.parametrize(("backbone", "change", "message"), WRONG.values(), ids=WRONG)
def test_weights_of_another_network_are_refused_by_the_first_names_that_do_not_fit(
    backbone, change, message, published, tmp_path
):
    torch.save(change(published), tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match=f"belongs to another network than {backbone}: {message}$"):
        pretrained(of_file(tmp_path / "weights.pth", backbone))


# --- weights by name ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "valid"),
    [
        ("resnet50", "default, none, IMAGENET1K_V1, IMAGENET1K_V2, or a file"),
        ("resnet18", "default, none, IMAGENET1K_V1, or a file"),
    ],
)
def test_an_unknown_weight_lists_the_valid_ones(backbone, valid):
    with pytest.raises(
        ConfigError, match=rf"^model\.weights: 'IMAGENET22K' is not among the weights of {backbone} \({valid}\)"
    ):
        pretrained(ModelConfig(backbone=backbone, weights="IMAGENET22K"))


def test_lite0_knows_its_packaged_weights_only():
    with pytest.raises(ConfigError, match="'IMAGENET1K_V1': efficientnet_lite0 takes `default`, `none` or a weight"):
        pretrained(ModelConfig(backbone="efficientnet_lite0", weights="IMAGENET1K_V1"))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Lets a test say what happens to downloads; nothing is found in the user's own cache of them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))

    def downloads(action):
        monkeypatch.setattr(torch.hub, "download_url_to_file", action)

    return downloads


FAILURES = [
    urllib.error.URLError("no route to host"),
    urllib.error.HTTPError("https://example.org", 403, "Forbidden", None, None),
    TimeoutError("timed out"),
    RuntimeError('invalid hash value (expected "f37072fd", got "0000")'),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_failed_download_says_what_else_there_is(hub, failure):
    def fail(*args, **kwargs):
        raise failure

    hub(fail)
    with pytest.raises(ConfigError) as caught:
        pretrained(ModelConfig(backbone="resnet18"))
    (problem,) = caught.value.problems
    assert problem.path == ("model", "weights")
    assert "ResNet18_Weights.IMAGENET1K_V1 cannot be downloaded" in problem.message
    assert "give a weight file, or efficientnet_lite0, which needs no download" in problem.message


def test_a_download_is_used_with_its_own_normalisation(hub, published, tmp_path):
    torch.save(dict(published), tmp_path / "theirs.pth")
    asked = []

    def serve(url, target, *args, **kwargs):
        asked.append(url)
        shutil.copy(tmp_path / "theirs.pth", target)

    hub(serve)
    weights = pretrained(ModelConfig(backbone=BACKBONE, weights="IMAGENET1K_V1"))
    assert [Path(url).name.partition("-")[0] for url in asked] == [BACKBONE]
    assert (weights.mean, weights.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert weights.fingerprint == fingerprint(published)


@pytest.mark.parametrize(
    ("weights", "mean", "random"), [("default", (0.5, 0.5, 0.5), False), ("none", IMAGENET_MEAN, True)]
)
def test_lite0_weights_by_name(weights, mean, random):
    found = pretrained(ModelConfig(backbone="efficientnet_lite0", weights=weights))
    assert (found.mean, found.fingerprint == "random", found.state is None) == (mean, random, random)


def test_weights_are_loaded_once_a_process():
    config = ModelConfig(backbone="efficientnet_lite0")
    assert pretrained(config) is pretrained(ModelConfig(backbone="efficientnet_lite0", weights="default"))


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if not name.startswith("medicalnet")])
def test_the_last_layer_gives_the_class_scores(backbone):
    with torch.device("meta"):
        network = new_network(backbone)
    classes = 1000 if BACKBONES[backbone].dims == 2 else 400  # ImageNet's, Kinetics'
    assert network.get_submodule(last_layer(backbone, network)).out_features == classes
