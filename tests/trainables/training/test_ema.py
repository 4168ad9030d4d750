import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from trainables.data.dataset import open_dataset
from trainables.recipe.train_config import Ema
from trainables.training.ema import weight_average
from trainables.training.trainer import Trainer


def ramped(decay, n):
    return min(decay, (1 + n) / (10 + n))


@pytest.mark.parametrize("decay", [0.05, 0.15, 0.9, 0.999])
@pytest.mark.parametrize("warmup", [True, False])
def test_an_average_ramps_up_to_its_decay_unless_it_has_no_warm_up(decay, warmup):
    module = nn.BatchNorm1d(3)
    average = weight_average(module, Ema(decay=decay, warmup=warmup))
    by_hand = {}
    for n in range(40):
        with torch.no_grad():
            for position, tensor in enumerate(module.state_dict().values()):
                tensor.fill_(position + n * n)
        average.update_parameters(module)
        for name, tensor in module.state_dict().items():
            if n == 0 or not tensor.is_floating_point():
                by_hand[name] = tensor.double().clone()
            else:
                by_hand[name] += (1 - (ramped(decay, n) if warmup else decay)) * (tensor.double() - by_hand[name])
    assert set(by_hand) == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    for name, tensor in average.module.state_dict().items():
        assert torch.allclose(tensor.double(), by_hand[name], rtol=1e-5), name


def test_an_average_leaves_the_module_alone():
    module = nn.Linear(2, 2)
    before = module.weight.detach().clone()
    average = weight_average(module, Ema(decay=0.9))
    average.update_parameters(module)
    with torch.no_grad():
        average.module.weight.zero_()
    assert torch.equal(module.weight, before)


# --- in a run -------------------------------------------------------------------------------------------------------

DECAY = 0.25


def stages(*epochs):
    return [
        {
            "name": f"s{i}",
            "unfreeze_from": f"last:{i + 1}",
            "epochs": count,
            "plateau": None,
            "head_frozen_epochs": 0,
            "backbone_warmup_epochs": 0,
            "head_lr": 0.05,
            "backbone_lr_ratio": 1.0,
        }
        for i, count in enumerate(epochs)
    ]


@pytest.fixture
def run(make_recipe):
    """`run(epochs of stage 0, …)`: the trainer of a run with EMA."""

    def make(*epochs, **train):
        recipe = make_recipe(**({"stages": stages(*epochs), "ema": {"decay": DECAY}} | train))
        return Trainer(recipe, open_dataset(recipe.data))

    return make


class Averaging:
    """Averages what trains after every optimizer step, in double precision and by the definition."""

    def __init__(self, trainer, first_open):
        self.trainer, self.parts = trainer, (f"blocks.{first_open}.", "blocks.8.", "head.")
        self.steps, self.average = 0, {}

    def __call__(self, *args):
        for name, tensor in self.trainer.model.state_dict().items():
            if not name.startswith(self.parts):
                continue
            if self.steps == 0 or not tensor.is_floating_point():
                self.average[name] = tensor.double().clone()
            else:
                share = 1 - ramped(DECAY, self.steps)
                self.average[name] += share * (tensor.double() - self.average[name])
        self.steps += 1


def by_model_name(state, first_open):
    """A stage's own names -> those of the model: its first block is the model's block `first_open`."""
    found = {}
    for name, tensor in state.items():
        kind, _, rest = name.removeprefix("module.").partition(".")
        if kind == "blocks":
            position, _, rest = rest.partition(".")
            rest = f"{int(position) + first_open}.{rest}"
        found[f"{kind}.{rest}"] = tensor
    return found


def average_of(trainer, first_open):
    state = {
        name: tensor for name, tensor in trainer.state_dict()["stage"]["ema"].items() if name.startswith("module.")
    }
    return by_model_name(state, first_open)


def test_a_runs_average_is_that_of_its_steps_statistics_included(run):
    trainer = run(2)
    by_hand = Averaging(trainer, first_open=8)
    handle = register_optimizer_step_post_hook(by_hand)
    for _ in trainer:
        average = average_of(trainer, 8)
        assert set(average) == set(by_hand.average)
        for name, tensor in average.items():
            assert torch.allclose(tensor.double(), by_hand.average[name], rtol=1e-5, atol=1e-7), name
    handle.remove()
    assert by_hand.steps == 6
    assert any(name.endswith("running_var") for name in by_hand.average)
    assert not torch.equal(average["head.last.weight"], trainer.model.head.last.weight)


def validation_loss(trainer, weights):
    """Of the network with these weights in place of its own."""
    model = trainer.model
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights, strict=False)
    validation = trainer.dataset.validation
    images, labels = trainer.feed.images.load(validation, None), torch.from_numpy(trainer.dataset.labels[validation])
    with torch.inference_mode():
        loss = F.cross_entropy(model.eval()(images).double(), labels).item()
    model.load_state_dict(own)
    return loss


def test_the_average_is_what_is_judged(run):
    trainer = run(2)
    for report in trainer:
        assert report.metrics["val_loss"] == pytest.approx(validation_loss(trainer, average_of(trainer, 8)), rel=1e-5)
        assert report.metrics["val_loss"] != pytest.approx(validation_loss(trainer, {}), rel=1e-3)


@pytest.mark.parametrize(("judge", "metric"), [("ema", "kappa"), ("raw", "kappa"), ("ema", "val_loss")])
def test_both_weights_are_validated_and_one_of_them_is_judged(run, judge, metric):
    trainer = run(2, ema={"decay": DECAY, "judge": judge}, metric=metric)
    other = {"ema": "raw", "raw": "ema"}[judge]
    for report in trainer:
        losses = {"ema": validation_loss(trainer, average_of(trainer, 8)), "raw": validation_loss(trainer, {})}
        assert losses["ema"] != pytest.approx(losses["raw"], rel=1e-3)
        assert report.metrics["val_loss"] == pytest.approx(losses[judge], rel=1e-5)
        assert report.metrics[f"{other}_val_loss"] == pytest.approx(losses[other], rel=1e-5)
        assert {name for name in report.metrics if name.startswith(("ema_", "raw_"))} == {
            f"{other}_val_loss",
            f"{other}_{metric}",
        }
        assert report.score == report.metrics[metric]
    assert trainer.position.losses[-1] == report.metrics["val_loss"]  # plateaus are those of what is judged


def test_each_of_the_two_has_the_metric_that_it_has_where_it_is_judged(run):
    def only(judge):
        (report,) = run(1, ema={"decay": DECAY, "judge": judge}, metric="auc")
        return report.metrics

    ema, raw = only("ema"), only("raw")
    assert (ema["auc"], ema["raw_auc"]) == (raw["ema_auc"], raw["auc"])
    assert ema["auc"] != raw["auc"]


def test_where_raw_weights_are_judged_they_are_kept_and_the_next_stage_starts_from_them(run):
    trainer = run(1, 1, ema={"decay": DECAY, "judge": "raw"})
    next(trainer)
    now = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    best = by_model_name(trainer.state_dict()["stage"]["best"]["weights"], 8)
    assert best
    assert all(torch.equal(tensor, now[name]) for name, tensor in best.items())
    assert not torch.equal(average_of(trainer, 8)["head.last.weight"], now["head.last.weight"])
    trainer._enter_next_stage()
    assert all(torch.equal(tensor, now[name]) for name, tensor in trainer.model.state_dict().items())


def test_frozen_blocks_run_once_for_both_weights(run):
    counts = []
    for ema in (None, {"decay": DECAY}):
        trainer, calls = run(1, ema=ema, prefix_cache=False), []
        handle = trainer.model.blocks[0].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        next(trainer)
        handle.remove()
        counts.append(len(calls))
    assert counts[0] == counts[1] > 0


def test_the_average_is_what_is_kept_as_the_stages_best(run):
    trainer = run(3)
    averages = [{name: tensor.clone() for name, tensor in average_of(trainer, 8).items()} for _ in trainer]
    best = by_model_name(trainer.state_dict()["stage"]["best"]["weights"], 8)
    assert all(torch.equal(tensor, averages[trainer.history.best_epoch - 1][name]) for name, tensor in best.items())


def test_the_next_stage_starts_from_the_best_average_and_with_an_average_of_its_own(run):
    trainer = run(2, 1)
    next(trainer)
    next(trainer)
    best = by_model_name(trainer.state_dict()["stage"]["best"]["weights"], 8)
    start, by_hand = {}, Averaging(trainer, first_open=7)

    def look(*args):
        if not start:
            start.update({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})

    handles = [
        trainer.model.blocks[7].register_forward_pre_hook(look),
        register_optimizer_step_post_hook(by_hand),
    ]
    next(trainer)
    for handle in handles:
        handle.remove()
    assert all(torch.equal(start[name], tensor) for name, tensor in best.items())
    assert by_hand.steps == 3
    for name, tensor in average_of(trainer, 7).items():
        assert torch.allclose(tensor.double(), by_hand.average[name], rtol=1e-5, atol=1e-7), name


def test_without_an_average_the_current_weights_are_judged(run):
    trainer = run(1, ema=None)
    report = next(trainer)
    assert trainer.state_dict()["stage"]["ema"] is None
    assert not any(name.startswith(("ema_", "raw_")) for name in report.metrics)
    assert report.metrics["val_loss"] == pytest.approx(validation_loss(trainer, {}), rel=1e-5)


def test_a_step_of_several_batches_is_one_step_of_the_average(run):
    trainer = run(1, accumulate=3)
    next(trainer)
    assert trainer.state_dict()["stage"]["ema"]["n_averaged"] == 1
