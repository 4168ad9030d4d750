import json
import pickle
import shutil
import urllib.error
from pathlib import Path

import pytest
import torch

from tests.support.networks import last_layer, new_network
from trainables.core.config_errors import ConfigError
from trainables.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from trainables.models.build_model import build_model
from trainables.models.pretrained_weights import fingerprint
from trainables.models.published_networks import pretrained
from trainables.recipe.backbone_catalog import BACKBONES
from trainables.recipe.recipe import ModelConfig

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


LAYOUTS = {
    "torchvision's": dict,
    "data parallel's prefix": prefixed,
    "wrapped": lambda state: {"epoch": 3, "state_dict": dict(state)},
    "wrapped, with prefix": lambda state: {"state_dict": prefixed(state)},
    "without the last layer": without_head,
    "another number of classes": lambda state: {**state, "classifier.3.weight": torch.zeros(7, 1024)},
    "without batch counters": lambda state: {n: t for n, t in state.items() if "num_batches" not in n},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_weight_file_is_understood(layout, published, tmp_path):
    torch.save(layout(published), tmp_path / "weights.pth")
    generator = torch.Generator().manual_seed(0)
    built = build_model(of_file(tmp_path / "weights.pth"), classes=4, cosine_scale=None, generator=generator)
    assert (built.mean, built.std) == (IMAGENET_MEAN, IMAGENET_STD)
    state = built.model.state_dict()
    for position in range(len(BACKBONES[BACKBONE].blocks)):
        part = f"features.{position}."
        for name in (name for name in published if name.startswith(part)):
            assert torch.equal(state[f"blocks.{position}.{name.removeprefix(part)}"], published[name]), name
    assert torch.equal(state["head.hidden.0.weight"], published["classifier.0.weight"])
    assert state["head.last.weight"].shape == (4, 1024)


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
UNUSABLE = {
    "truncated": (_truncated, SAFELY),
    "empty": (lambda _, path: path.touch(), SAFELY),
    "a pickle of nothing": (lambda _, path: path.write_bytes(b"\x80\x02."), SAFELY),
    "text": (lambda _, path: path.write_text(json.dumps({"a": 1})), SAFELY),
    "a whole module": (lambda _, path: torch.save(torch.nn.Linear(2, 2), path), SAFELY),
    "a list": (lambda state, path: torch.save(list(state.values()), path), "does not hold a state dict"),
    "no tensors": (lambda _, path: torch.save({"a": 1}, path), "does not hold a state dict"),
}


@pytest.mark.parametrize(("write", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_holds_no_weights_is_refused(write, message, published, tmp_path):
    path = tmp_path / "weights.pth"
    write(published, path)
    with pytest.raises(ConfigError, match=rf"^model\.weights: .*weights\.pth {message}"):
        pretrained(of_file(path))


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(ConfigError, match=r"^model\.weights: .*absent\.pt does not exist$"):
        pretrained(of_file(tmp_path / "absent.pt"))


def _reshaped(state):
    return {**state, "features.1.block.0.0.weight": torch.zeros(1)}


def _lacking(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("features.12.")}


WRONG = {
    "another architecture": ("resnet18", dict, "conv1.weight, bn1.weight, bn1.bias do not fit"),
    "a larger sibling": ("mobilenet_v3_large", dict, "features.1.block.1.0.weight, .* do not fit"),
    "a shape": (BACKBONE, _reshaped, "features.1.block.0.0.weight do not fit"),
    "a missing block": (
        BACKBONE,
        _lacking,
        "features.12.0.weight, features.12.1.weight, features.12.1.bias do not fit",
    ),
    "a stranger": (BACKBONE, lambda state: {**state, "extra.weight": torch.zeros(1)}, "extra.weight do not fit"),
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
