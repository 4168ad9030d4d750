import shutil
import subprocess
import sys

import pytest
import torch

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.models.compilation import check_compiler, recompile
from trainables.models.staged_model import Head
from trainables.recipe.train_config import Optimizer
from trainables.training.optimizers import build_optimizer
from trainables.training.trainer import Trainer

STAGES = [
    {"name": "head", "unfreeze_from": "head", "epochs": 1, "dropout": 0.5},
    {
        "name": "top",
        "unfreeze_from": "last:1",
        "epochs": 2,
        "head_frozen_epochs": 1,
        "backbone_warmup_epochs": 0,
        "backbone_lr_ratio": 1.0,
    },
]
CPU = torch.device("cpu")
SGD = type(build_optimizer(Optimizer(kind="sgd"), [{"params": [torch.nn.Parameter(torch.zeros(1))]}]))


@pytest.fixture
def uncompiled_by(monkeypatch):
    """`uncompiled_by(backend)`: torch.compile with a backend that starts at once."""

    def use(backend):
        def compile_with(module, **_):
            module._compiled_call_impl = torch.compile(module._call_impl, backend=backend)

        monkeypatch.setattr(torch.nn.Module, "compile", compile_with)

    return use


@pytest.fixture
def trainer_of(own_module, make_recipe):
    backbone = f"{own_module()}:tiny"

    def make(**train):
        recipe = make_recipe(model={"backbone": backbone}, stages=STAGES, **train)
        return Trainer(recipe, open_dataset(recipe.data))

    return make


def opened(trainer):
    return {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}


@pytest.mark.slow
def test_each_opening_is_compiled_and_moves_what_it_opens(uncompiled_by, trainer_of, monkeypatch):
    uncompiled_by("aot_eager")
    trainer = trainer_of(compile=True)
    names = set(trainer.model.state_dict())
    moved, gradients = [], []
    monkeypatch.setattr(SGD, "zero_grad", _noting_gradients(trainer, gradients))
    weights = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    for _ in trainer:
        now = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        moved.append({name for name in now if not torch.equal(now[name], weights[name])})
        weights = now
        assert gradients.pop() == opened(trainer)
        gradients.clear()
    head = {"head.last.weight", "head.last.bias"}
    block = {"blocks.2.0.weight", "blocks.2.0.bias"}
    assert moved[0] == head
    assert "blocks.2.0.weight" in moved[1] <= block  # a bias before a BatchNorm may stand still
    assert head < moved[2] <= head | block
    assert set(trainer.model.state_dict()) == names


def _noting_gradients(trainer, found):
    zero_grad = SGD.zero_grad

    def note(self, *args, **kwargs):
        found.append({name for name, p in trainer.model.named_parameters() if p.grad is not None})
        zero_grad(self, *args, **kwargs)

    return note


@pytest.mark.parametrize("ema", [None, {"decay": 0.9}])
def test_no_checkpoint_knows_of_the_compiler(uncompiled_by, trainer_of, ema):
    uncompiled_by("eager")
    plain, compiled = trainer_of(ema=ema), trainer_of(ema=ema, compile=True)
    next(plain), next(compiled)
    assert _keys(plain.state_dict()) == _keys(compiled.state_dict())


def _keys(state, at=""):
    if not isinstance(state, dict):
        return {at}
    return {key for name, value in state.items() for key in _keys(value, f"{at}/{name}")}


@pytest.mark.slow
def test_inductor_computes_what_torch_computes_and_a_resumed_run_goes_on_exactly(trainer_of, tmp_path, monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config, "compile_threads", 1)  # more start a pool of Pythons, for three blocks
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    plain = [(report.train_loss, report.metrics["val_loss"]) for report in trainer_of()]
    whole = trainer_of(compile=True)
    reports, states = [], []
    for report in whole:
        reports.append((report.train_loss, report.metrics["val_loss"]))
        states.append(whole.state_dict())
        states[-1] = torch.utils._pytree.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, states[-1])
    for compiled, uncompiled in zip(reports, plain, strict=True):
        assert compiled == pytest.approx(uncompiled, rel=1e-3)
    for done in (1, 2):
        resumed = trainer_of(compile=True)
        resumed.load_state_dict(states[done - 1])
        assert [(report.train_loss, report.metrics["val_loss"]) for report in resumed] == reports[done:]


def test_a_module_compiled_again_forgets_its_graphs_and_stays_the_same_module(uncompiled_by):
    graphs = []

    def counting(graph, _):
        graphs.append(graph)
        return graph.forward

    uncompiled_by(counting)
    module = Head(torch.nn.Identity(), torch.nn.Linear(2, 2))
    for times in (1, 2):
        recompile(module)
        module(torch.zeros(1, 2)), module(torch.ones(1, 2))
        assert len(graphs) == times
    assert list(module.state_dict()) == ["last.weight", "last.bias"]


def test_a_machine_without_a_compiler_is_told_before_training(trainer_of):
    from torch._inductor import config

    missing = pytest.raises(ConfigError, match=r"^train\.compile: torch\.compile needs a C\+\+ compiler such as g\+\+")
    with config.patch({"cpp.cxx": ("no-such-compiler",)}), missing:
        trainer_of(compile=True)


@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler here")
def test_a_compiler_that_is_there_is_found():
    check_compiler(CPU)


WITHOUT_COMPILER = """
import sys, torch, trainables.models.backbones.torchvision_import
from trainables.training.optimizers import build_optimizer
from trainables.recipe.train_config import Optimizer

for kind in ("sgd", "adam", "adamw"):
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = build_optimizer(Optimizer(kind=kind), [{"params": [parameter]}])
    optimizer.param_groups[0]["lr"] = 0.1
    parameter.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
    assert parameter.grad is None and (parameter < 1).all()
print("torch._dynamo" in sys.modules)
"""


def test_a_run_that_compiles_nothing_does_not_import_the_compiler():
    """It costs each worker two seconds and 80 MB."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_COMPILER], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
