"""Contract of the presets: whatever one of them draws is a valid recipe."""

import itertools
from pathlib import Path
from typing import Any

import optuna
import pytest

import spaces
from search.cli import main
from spaces import parse_space, preset_names
from trainables.core.dotted_paths import with_values
from trainables.recipe.backbone_catalog import IMAGE_BACKBONES
from trainables.recipe.recipe import Recipe, parse_recipe

PRESETS = Path(spaces.__file__).parent / "presets"

BASE = {
    "data": {"source": "digits", "image_size": 64},
    "model": {"backbone": "efficientnet_lite0"},
    "train": {
        "stages": [
            {"name": "head", "unfreeze_from": "head"},
            {"name": "top", "unfreeze_from": "last:1"},
            {"name": "deep", "unfreeze_from": "last:3"},
        ]
    },
}


def recipe_at(values: dict[str, Any]) -> Recipe:
    return parse_recipe(with_values(BASE, values))


def test_nine_presets_come_with_thaw() -> None:
    parts = {"augment", "ema", "full", "imbalance", "progressive", "unfreezing"}
    assert set(preset_names()) == parts | {"mammography", "thumbnails", "volumes"}


@pytest.mark.parametrize("preset", preset_names())
def test_every_draw_is_a_valid_recipe(preset: str) -> None:
    space = parse_space(preset)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    recipes = [recipe_at(space.suggest(study.ask())) for _ in range(50)]
    assert len({recipe.model_dump_json() for recipe in recipes}) > 25


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("backbone", IMAGE_BACKBONES)
def test_every_corner_is_a_valid_recipe_of_every_backbone(preset: str, backbone: str) -> None:
    for values in parse_space(preset).corner_points():
        recipe = recipe_at(values | {"model.backbone": backbone})
        assert 0 <= recipe.cut(-1) <= len(recipe.blocks)


@pytest.mark.parametrize("backbone", IMAGE_BACKBONES)
def test_depths_differ_in_every_backbone(backbone: str) -> None:
    depths = parse_space("unfreezing").parameters["train.stages[-1].unfreeze_from"].extremes()
    cuts = {recipe_at({"model.backbone": backbone, "train.stages[-1].unfreeze_from": d}).cut(-1) for d in depths}
    assert len(cuts) == len(depths)


@pytest.mark.parametrize(
    ("loss", "beside"),
    [
        ("cross_entropy", {"balance"}),
        ("focal", {"balance", "loss.gamma"}),
        ("balanced_softmax", {"loss.tau"}),
        ("ldam", {"loss.max_margin", "loss.scale", "drw.start_fraction"}),
    ],
)
def test_imbalance_is_corrected_once(loss: str, beside: set[str]) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = parse_space("imbalance")
    drawn = [values for values in (space.suggest(study.ask()) for _ in range(50)) if values["train.loss.kind"] == loss]
    assert drawn
    assert all(set(values) == {"train.loss.kind", *(f"train.{path}" for path in beside)} for values in drawn)


def test_full_holds_the_three_others_unchanged() -> None:
    full = parse_space("full").parameters
    for preset in ("unfreezing", "imbalance", "ema"):
        parameters = parse_space(preset).parameters
        assert {path: full[path] for path in parameters} == parameters
    assert len(full) == 16


def test_augmentation_joins_full() -> None:
    together = parse_space(["full", "augment"]).parameters
    assert set(together) == {*parse_space("full").parameters, *parse_space("augment").parameters}


def test_augment_searches_without_a_word_about_it_in_the_recipe() -> None:
    assert recipe_at({}).train.augment is None
    for values in parse_space("augment").corner_points():
        augment = recipe_at(values).train.augment
        assert augment is not None
        assert augment.moves_pixels


@pytest.mark.parametrize("others", ["unfreezing", "full"])
def test_growth_joins_the_others(others: str) -> None:
    together = parse_space([others, "progressive"]).parameters
    assert set(together) == {*parse_space(others).parameters, *parse_space("progressive").parameters}


def test_progressive_grows_the_first_stage_and_dampens_the_last() -> None:
    plain = recipe_at({})
    assert {(stage.data_fraction, stage.lr_scale) for stage in plain.train.stages} == {(1.0, 1.0)}
    for values in parse_space("progressive").corner_points():
        first, middle, last = recipe_at(values).train.stages
        assert 0.2 <= first.data_fraction <= 1
        assert 0.25 <= last.lr_scale <= 1
        assert (first.lr_scale, middle, last.data_fraction) == (1.0, plain.train.stages[1], 1.0)


@pytest.mark.parametrize(
    ("named_by_the_user", "path"),
    [
        ("plateau patience", "train.stages[*].plateau.patience"),
        ("backbone/head LR ratio", "train.stages[*].backbone_lr_ratio"),
        ("LDAM margin", "train.loss.max_margin"),
        ("DRW start", "train.drw.start_fraction"),
        ("EMA decay", "train.ema.decay"),
    ],
)
def test_full_searches_what_the_product_is_for(named_by_the_user: str, path: str) -> None:
    assert path in parse_space("full").parameters


VOLUMES = {"source": "npz", "path": "volumes.npz", "image_size": 32, "depth": 16}


@pytest.mark.parametrize(
    ("preset", "base"),
    [
        # Staged unfreezing driven by plateaus, of classes and of a score.
        ("thumbnails", {"model.backbone": "mobilenet_v3_small"}),
        (
            "thumbnails",
            {
                "model.backbone": "mobilenet_v3_small",
                "data": {"source": "table", "path": "videos.csv", "task": "regression"},
                "train.metric": "spearman",
                "train.loss.kind": "huber",
            },
        ),
        ("progressive", {"model.backbone": "resnet50", "train.one_cycle": {}}),
        # Three depths: one stage, and an imbalance that is corrected once.
        ("mammography", {"model.backbone": "resnet50", "train.stages": [{"name": "only", "unfreeze_from": "all"}]}),
        ("mammography", {"model.backbone": "efficientnet_b0"}),
        ("volumes", {"model.backbone": "medicalnet_resnet50", "model.weights": "none", "data": VOLUMES}),
        ("volumes", {"model.backbone": "r3d_18", "model.weights": "none", "data": VOLUMES}),
    ],
)
def test_each_system_starts_from_one_line(preset: str, base: dict[str, Any]) -> None:
    given = with_values(BASE, base)
    space = parse_space(preset)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [*space.corner_points(), *(space.suggest(study.ask()) for _ in range(50))]
    recipes = {parse_recipe(with_values(given, values)).model_dump_json() for values in points}
    assert len(recipes) > 50


@pytest.mark.parametrize(
    ("preset", "paths"),
    [
        (
            "thumbnails",
            {"train.stages[*].plateau.patience", "train.stages[1].head_frozen_epochs", "train.stages[-1].dropout"},
        ),
        ("mammography", {"train.stages[-1].unfreeze_from", "train.balance", "train.stages[*].schedule.kind"}),
        ("volumes", {"train.loss.max_margin", "train.loss.scale", "train.drw.start_fraction", "train.ema.decay"}),
    ],
)
def test_a_system_searches_what_it_is_about(preset: str, paths: set[str]) -> None:
    assert paths <= set(parse_space(preset).parameters)


def test_mammography_reaches_all_three_depths() -> None:
    depths = parse_space("mammography").parameters["train.stages[-1].unfreeze_from"].extremes()
    recipes = [recipe_at({"train.stages[-1].unfreeze_from": depth}) for depth in depths]
    assert [len(recipe.blocks) - recipe.cut(-1) for recipe in recipes] == [0, 1, len(recipes[0].blocks)]


# --- in words -------------------------------------------------------------------------------------------------------


def test_every_preset_is_explained_value_by_value() -> None:
    for preset in spaces.presets():
        assert len(preset.about) > 20
        assert [line.path for line in preset.lines] == list(parse_space(preset.name).parameters)
        assert all(line.why and line.distribution for line in preset.lines), preset.name


def test_a_condition_is_said_in_words() -> None:
    (tau,) = (line for line in spaces.explain("imbalance").lines if line.path == "train.loss.tau")
    assert (tau.distribution, tau.when) == ("float 0.5 … 2", "train.loss.kind is balanced_softmax")
    assert tau.why.startswith("1 is balanced softmax as published")


def test_thaw_spaces_lists_and_explains(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def thaw(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["thaw", "spaces", *words])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err  # type: ignore[return-value]

    code, out, _ = thaw()
    assert code == 0
    assert all(f" {name} " in out for name in preset_names())
    code, out, _ = thaw("volumes")
    assert code == 0
    assert "float 0.1 … 0.5, when train.loss.kind is ldam" in out
    assert "Margin of the rarest class" in out
    assert thaw("volume")[::2] == (2, "error: unknown preset 'volume'; did you mean 'volumes'?\n")


@pytest.mark.parametrize("preset", preset_names())
def test_each_line_says_why(preset: str) -> None:
    lines = (PRESETS / f"{preset}.yaml").read_text("utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert all(before.startswith("# ") for before, line in itertools.pairwise(lines) if line[:5] == "train")
