import textwrap

import pytest
import torch

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.models.build_model import build_model, check_model
from trainables.recipe.backbone_catalog import backbone_info
from trainables.recipe.model_config import ModelConfig
from trainables.training.trainer import Trainer

START = "from torch import nn\nfrom trainables.models import Backbone\nconv = nn.Conv2d(3, 4, 3)\n"


def built(backbone, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return build_model(ModelConfig(backbone=backbone), classes=4, cosine_scale=None, generator=generator)


def test_a_function_of_the_users_is_a_backbone(own_module):
    name = f"{own_module()}:tiny"
    assert backbone_info(name) == (("one", "two", "three"), 1, None, 2, 3, False, {})
    model, mean, std, _ = built(name)
    assert [len(list(block)) for block in model.blocks] == [3, 3, 3]
    assert (mean, std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 4)
    check_model(ModelConfig(backbone=name), image_size=32)


def test_the_seed_decides_what_a_function_draws(own_module):
    name = f"{own_module()}:tiny"
    first, again, other = built(name, 1), built(name, 1), built(name, 2)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert torch.equal(first.model.blocks[0][0].weight, again.model.blocks[0][0].weight)
    assert not torch.equal(first.model.blocks[0][0].weight, other.model.blocks[0][0].weight)


def test_a_function_leaves_the_random_numbers_of_the_process_alone(own_module):
    name = f"{own_module()}:tiny"
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    backbone_info(name)
    check_model(ModelConfig(backbone=name), image_size=32)
    assert torch.equal(torch.rand(3), expected)


def test_what_one_run_trains_no_other_starts_from(own_module):
    module = own_module(f"{START}def net(): return Backbone(blocks={{'a': conv}}, features=4)")
    name = f"{module}:net"
    first = built(name)
    with torch.no_grad():
        first.model.blocks[0].weight.zero_()
    again = built(name)
    assert again.model.blocks[0].weight.any()
    assert again.fingerprint == first.fingerprint


def test_a_run_trains_its_blocks_in_stages(own_module, make_recipe):
    stages = [
        {"name": "head", "unfreeze_from": "head", "epochs": 1},
        {"name": "top", "unfreeze_from": "two", "epochs": 1, "head_frozen_epochs": 0},
    ]
    recipe = make_recipe(model={"backbone": f"{own_module()}:tiny"}, stages=stages)
    trainer = Trainer(recipe, open_dataset(recipe.data))
    start = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    assert [report.open_from for report in trainer] == ["head", "two"]
    moved = {name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, start[name])}
    assert {name.rpartition(".")[0] for name in moved if name.endswith("weight")} == {
        "blocks.1.0",
        "blocks.2.0",
        "head.last",
    }


def test_pool_and_hidden_are_the_users_where_given(own_module):
    module = own_module(
        START
        + "class Max(nn.Module):\n    def forward(self, x): return x.amax((2, 3))\n"
        + "def net(): return Backbone(blocks={'a': conv}, pool=Max(), hidden=nn.Linear(4, 7), features=7)"
    )
    model = built(f"{module}:net").model.eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        expected = model.head.last(model.head.hidden(model.blocks[0](images).amax((2, 3))))
        assert torch.equal(model(images), expected)
        assert model.prefix(images, 1).shape == (2, 4)
    check_model(ModelConfig(backbone=f"{module}:net"), image_size=16)


def test_an_empty_pool_leaves_the_pooling_to_the_head(own_module):
    hidden = "nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 7))"
    value = f"Backbone(blocks={{'a': conv}}, pool=nn.Sequential(), hidden={hidden}, features=7)"
    name = f"{own_module(f'{START}def net(): return {value}')}:net"
    check_model(ModelConfig(backbone=name), image_size=8)
    assert built(name).model.prefix(torch.zeros(2, 3, 8, 8), 1).shape == (2, 4, 6, 6)


# --- what cannot be used ----------------------------------------------------------------------------------------------

FAILING = [
    (
        "def net():\n    raise ValueError('bad\\n depth')",
        r"net raised ValueError: bad depth \(own_networks_\d+\.py:2\)",
    ),
    (
        "def net():\n    return inner()\ndef inner():\n    return {}['x']",
        r"raised KeyError: 'x' \(own_networks_\d+\.py:4\)",
    ),
    (
        "import torch\ndef net():\n    return torch.nn.Linear(2, -1)",
        r"raised RuntimeError: .* \(own_networks_\d+\.py:3\)",
    ),
    ("def net(:", r"cannot import own_networks_\d+: SyntaxError: .* \(own_networks_\d+\.py:1\)"),
    ("import no_such_package", r"cannot import .*No module named 'no_such_package' .*on PYTHONPATH\?"),
    ("def nett(): ...", r"has no function 'net'; did you mean 'nett'\?"),
    ("net = 3", r"has no function 'net'; valid: $"),
]


@pytest.mark.parametrize(("code", "message"), FAILING)
def test_a_failing_function_is_told_with_its_place(code, message, own_module):
    with pytest.raises(ConfigError, match=f"^model.backbone: .*{message}") as caught:
        backbone_info(f"{own_module(code)}:net")
    assert "\n" not in str(caught.value)


def test_a_missing_module_is_said_to_be_missing(own_module):
    own_module()
    with pytest.raises(
        ConfigError, match=r"cannot import not_there: ModuleNotFoundError: .*; is its folder on PYTHONPATH"
    ):
        backbone_info("not_there:net")


RETURNED = [
    ("nn.Linear(2, 2)", r"a Linear \(.*\); it must return a trainables.models.Backbone$"),
    ("None", "None; it must return a trainables.models.Backbone$"),
    ("Backbone(blocks=[conv], features=4)", r"blocks = a list \(.*\); it must be a dict of at least one module"),
    ("Backbone(blocks={}, features=4)", r"blocks = a dict \({}\); it must be a dict of at least one"),
    ("Backbone(blocks={'a': 3}, features=4)", r"blocks\['a'\] = a int \(3\); it must be a torch module"),
    ("Backbone(blocks={'head': conv}, features=4)", "a block named 'head'; choose another"),
    ("Backbone(blocks={'last:2': conv}, features=4)", "a block named 'last:2'; choose another"),
    ("Backbone(blocks={'a': conv}, features=0)", "features = 0; it must be the number of features"),
    ("Backbone(blocks={'a': conv}, features=4, dims=4)", "dims = 4; it must be 2 for images or 3 for volumes"),
    (
        "Backbone(blocks={'a': conv}, features=4, std=(1, 0, 1))",
        r"mean = .* and std = \(1, 0, 1\); they must be tuples of one number per channel",
    ),
    ("Backbone(blocks={'a': conv}, features=4, mean=(0.5,))", r"mean = \(0.5,\) and std"),
    (
        "Backbone(blocks={'a': conv}, features=4, pool='max')",
        r"pool = a str \('max'\); it must be a torch module or None",
    ),
    (
        "Backbone(blocks={'a': conv}, features=4, pool=nn.Linear(2, 2))",
        "a pool with parameters; move it into `hidden`",
    ),
    ("Backbone(blocks={'a': conv, 'b': conv}, features=4)", "a and b with a shared parameter"),
    ("Backbone(blocks={}, features='4', dims=1)", "blocks = .*; features = '4'.*; dims = 1"),
]


@pytest.mark.parametrize(("value", "message"), RETURNED)
def test_a_wrong_return_value_is_named(value, message, own_module):
    module = own_module(f"{START}def net(): return {value}")
    with pytest.raises(ConfigError, match=f"^model.backbone: {module}:net returned {message}"):
        backbone_info(f"{module}:net")


TRIED = [
    (
        "Backbone(blocks={'a': conv}, features=5)",
        r"turns two images of 8 pixels into an output of shape \[2, 4\]; \[2, 5\] is expected, because features = 5",
    ),
    (
        "Backbone(blocks={'a': conv, 'b': nn.Conv2d(3, 4, 3)}, features=4)",
        r"block 'b' of .* was given a tensor of shape \(2, 4, 6, 6\) and raised RuntimeError: .*3 channels",
    ),
    (
        "Backbone(blocks={'a': conv}, hidden=Pair(), features=4)",
        "hidden of .* returns a tuple; it must return one tensor",
    ),
    (
        "Backbone(blocks={'a': conv}, hidden=Broken(), features=4)",
        r"hidden of .* raised ValueError: no \(own_networks_\d+\.py:8\)",
    ),
]


@pytest.mark.parametrize(("value", "message"), TRIED)
def test_parts_that_do_not_fit_are_found_before_training(value, message, own_module):
    layers = """
        class Pair(nn.Module):
            def forward(self, x): return x, x
        class Broken(nn.Module):
            def forward(self, x):
                raise ValueError('no')
    """
    module = own_module(f"{START}{textwrap.dedent(layers).lstrip()}def net(): return {value}")
    with pytest.raises(ConfigError, match=rf"^model\.backbone: .*{message}"):
        check_model(ModelConfig(backbone=f"{module}:net"), image_size=8)


def test_a_network_for_volumes_is_tried_on_the_depth_it_will_see(own_module):
    start = START.replace("Conv2d", "Conv3d")
    value = "Backbone(blocks={'a': conv}, pool=nn.Flatten(), features=4 * 3 * 6 * 6, dims=3)"
    name = f"{own_module(f'{start}def net(): return {value}')}:net"
    check_model(ModelConfig(backbone=name), image_size=8, depth=5)
    with pytest.raises(ConfigError, match=r"\[2, 432\] is expected"):
        check_model(ModelConfig(backbone=name), image_size=8, depth=8)
