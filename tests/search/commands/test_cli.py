"""The `thaw` command: what the user got wrong is one message and exit status 2, and nothing is left behind."""

import copy
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import jsonschema
import pytest
import typer.main
import yaml
from PIL import Image

from search.cli import GROUPS, app, main
from search.commands import search as search_command
from tests.support.project import PROJECT
from tests.support.recipes import RECIPE

THAW = str(Path(sys.executable).with_name("thaw"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with a search small.yaml."""
    monkeypatch.chdir(tmp_path)
    data = {**copy.deepcopy(RECIPE), "space": "ema", "search": {"trials": 2}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


@pytest.fixture
def refused(folder, monkeypatch, capsys):
    """`refused(*words)`: the message of a command that must not go well, run in this process."""

    def run(*words):
        before = sorted(folder.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        with pytest.raises(SystemExit, match=r"^2$"):
            main()
        out, err = capsys.readouterr()
        assert sorted(folder.rglob("*")) == before
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("error: ") == 1
        assert "Traceback" not in err
        return err.removeprefix("error: ").rstrip("\n")

    return run


def make_run(folder, name, text=None):
    run = folder / "runs" / name
    run.mkdir(parents=True)
    (run / "search.yaml").write_text((folder / "small.yaml").read_text() if text is None else text)


# --- in a process of its own ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "nothing.yaml"], "error: nothing.yaml cannot be read: No such file or directory\n"),
        (
            ["train", "small.yaml", "search.trials=3"],
            "error: command line (search.trials=3) search.trials: has no effect on a single run; remove it\n",
        ),
        (["results", "nothing"], "error: no run 'nothing' in 'runs'; there are no runs\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
@pytest.mark.parametrize("command", [[THAW], [sys.executable, "-c", "from search.cli import main; main()"]])
def test_a_mistake_is_one_message_and_status_2(folder, command, words, message):
    done = subprocess.run([*command, *words], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    assert [path.name for path in folder.iterdir()] == ["small.yaml"]


def test_an_error_of_ours_keeps_its_traceback(folder):
    code = "import search.config_file.load as l; l.load_search = None; from search.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "search", "small.yaml"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "TypeError: 'NoneType' object is not callable" in done.stderr


HEAVY = ("torch", "ray", "optuna", "pandas", "sklearn", "tensorboard", "numpy")


@pytest.mark.parametrize(("words", "status"), [(["--help"], 0), (["search", "--help"], 0), (["nonsense"], 2)])
def test_help_answers_without_importing_what_runs_need(words, status):
    code = f"""
import sys
from search.cli import GROUPS, app, main
try:
    main()
except SystemExit as end:
    print("imported:", *[name for name in {HEAVY} if name in sys.modules])
    sys.exit(end.code)
"""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == status
    assert done.stdout.splitlines()[-1] == "imported:"
    if words == ["--help"]:
        commands = [
            line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.startswith("  ")
        ]
        assert set(commands) >= {"init", "check", "search", "resume", "train", "results", "export", "schema"}


def test_a_mistake_in_a_search_is_said_before_torch_and_ray_are_imported(folder):
    code = """
import sys
from search.cli import GROUPS, app, main
try:
    main()
finally:
    print("imported:", *[name for name in ("torch", "ray") if name in sys.modules])
"""
    words = ["search", "small.yaml", "data={source: folder, path: nothing, image_size: 32}"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "imported:\n")


@pytest.fixture
def shown_help(monkeypatch, capsys):
    """`shown_help(*words)`: the lines of `thaw WORDS --help` on a terminal of 80 columns."""

    def lines(*words):
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(sys, "argv", ["thaw", *words, "--help"])
        with pytest.raises(SystemExit, match=r"^0$"):
            main()
        return capsys.readouterr().out.splitlines()

    return lines


def test_the_list_of_commands_fits_80_columns_in_groups(shown_help):
    lines = shown_help()
    assert max(map(len, lines)) <= 80
    for heading, commands in GROUPS.items():
        start = lines.index(f"  {heading}:") + 1
        rows = [row.split(maxsplit=1) for row in lines[start : start + len(commands)]]
        assert rows == [[command.__name__, (command.__doc__ or "").partition("\n")[0]] for command in commands]
        assert all(summary.endswith(".") and "..." not in summary for _, summary in rows)


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))
def test_the_help_of_a_command_shows_an_example_that_it_understands(shown_help, name):
    lines = shown_help(name)
    assert max(map(len, lines)) <= 80
    (example,) = [line.removeprefix("  Example: ") for line in lines if line.startswith("  Example: ")]
    words = shlex.split(example.partition(" > ")[0])
    assert words[:2] == ["thaw", name]
    typer.main.get_command(app).commands[name].make_context(name, words[2:])


def test_without_a_command_help_is_shown():
    done = subprocess.run([THAW], capture_output=True, text=True)
    assert "Commands:" in done.stdout + done.stderr


# --- in this process ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.metrik=kappa"], "command line (train.metrik=kappa) train.metrik: unknown key; did you mean 'metric'?"),
        (
            ["train.stages[1].unfreeze_from=features.9"],
            "command line (train.stages[1].unfreeze_from=features.9) train.stages[1].unfreeze_from: 'features.9' is not a block"
            " (features.0 … features.8, head, all, last:1 … last:9) of efficientnet_lite0",
        ),
        (["train.batch_size"], "command line: 'train.batch_size' is not an override; write it as train.batch_size=64"),
        (
            ["search.name=../up"],
            "command line (search.name=../up) search.name: '../up' cannot be the name of a run folder: use",
        ),
        (
            ["data={source: folder, path: nothing, image_size: 32}"],
            "command line (data={source: folder, path: nothing, image_size: 32}) data.path: ",
        ),
        (["data.long_tail.largest=10000"], "small.yaml:3 data.long_tail: largest 10000: too few training images"),
        (["data.validation=0.999"], "command line (data.validation=0.999) data"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
@pytest.mark.parametrize("more", [[], ["--new"], ["--resume"]], ids=["plain", "new", "resume"])
def test_a_mistaken_search_leaves_no_run(refused, words, message, more):
    said = refused("search", "small.yaml", *words, *more)
    assert said.startswith(message)
    assert refused("check", "small.yaml", *words) == said


@pytest.mark.parametrize("command", ["search", "train"])
def test_images_that_cannot_be_used_leave_no_run(refused, folder, command):
    for name, count in (("cat", 6), ("dog", 6), ("bird", 1)):
        (folder / "images" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (40, 40), (40 * i, 0, 0)).save(folder / "images" / name / f"{i}.png")
    data = yaml.safe_load((folder / "small.yaml").read_text())
    if command == "train":
        del data["space"], data["search"]
    data["data"] = {"source": "folder", "path": "images", "image_size": 32, "validation": 0.5}
    (folder / "images.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    assert "bird" in refused(command, "images.yaml")  # one image cannot both train and validate
    Image.new("RGB", (40, 40)).save(folder / "images" / "bird" / "1.png")
    (folder / "images" / "dog" / "0.png").write_bytes(b"no image")
    message = refused(command, "images.yaml")
    assert message.startswith("images.yaml:3 data.path: 1 of 14 images cannot be read:")
    assert "dog/0.png" in message


def test_several_mistakes_are_lines_of_one_message(refused):
    message = refused("search", "small.yaml", "train.metrik=1", "search.trials=0", "train.stages[0].unfreeze_from=x")
    assert len(message.splitlines()) == 3


def test_a_run_that_exists_is_not_written_over(refused, folder):
    make_run(folder, "small")
    message = "the run 'small' exists in runs: resume it (thaw resume small), start another run (--new), or"
    assert refused("search", "small.yaml").startswith(message)


def test_a_run_that_is_another_search_is_not_gone_on_with(refused, folder):
    make_run(folder, "small")
    assert refused("search", "small.yaml", "--resume") == (
        f"{folder}/runs/small is not the search that small.yaml describes now; start a new run with --new"
    )


def test_a_search_that_another_process_began_meanwhile_is_left_to_it(folder, monkeypatch, capsys):
    import search.preflight.data_and_weights

    finished = folder / "finished"
    monkeypatch.setattr(sys, "argv", ["thaw", "search", "small.yaml", f"search.on_finish=touch {finished}"])

    def looking_while_the_other_runs(*_, **__):
        make_run(folder, "small")
        (folder / "runs" / "small" / "attempt").write_text("1")

    monkeypatch.setattr(search.preflight.data_and_weights, "check_data_and_weights", looking_while_the_other_runs)
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    assert "error: another process has just started small; see: thaw watch small" in capsys.readouterr().err
    assert not finished.exists()


@pytest.fixture
def started(folder, monkeypatch):
    """`started(*words)`: the config and layout that a command would run; nothing is run."""
    calls = []
    monkeypatch.setattr(search_command, "run", lambda config, layout, source: calls.append((config, layout)))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        with pytest.raises(SystemExit, match=r"^0$"):
            main()
        return calls.pop()

    return run


def test_a_search_runs_in_a_folder_of_its_name(started, folder):
    config, layout = started("search", "small.yaml", "search.trials=7")
    assert (config.settings.trials, layout.root) == (7, folder / "runs" / "small")
    assert started("search", "small.yaml", "search.name=mine", "--runs", "there")[1].root == folder / "there" / "mine"


def test_the_same_search_is_gone_on_with(started, folder):
    config, _ = started("search", "small.yaml")
    make_run(folder, "small", config.to_yaml())
    assert started("search", "small.yaml", "--resume") == (config, ANY)
    older = "".join(line for line in config.to_yaml().splitlines(keepends=True) if "wandb:" not in line)
    assert older != config.to_yaml()
    (folder / "runs" / "small" / "search.yaml").write_text(older)
    assert started("search", "small.yaml", "--resume") == (config, ANY)
    again, layout = started("resume", "small")
    assert (again.to_yaml(), layout.root) == (config.to_yaml(), folder / "runs" / "small")


def test_a_new_search_starts_beside_the_run_that_exists(started, folder):
    make_run(folder, "small")
    config, layout = started("search", "small.yaml", "--new")
    assert re.fullmatch(r"small-\d{8}-\d{6}", config.name)
    assert layout.root == folder / "runs" / config.name


@pytest.mark.parametrize("command", ["results", "resume", "export"])
def test_an_unknown_run_is_answered_with_the_nearest(refused, folder, command):
    make_run(folder, "digits")
    make_run(folder, "fashion")
    assert refused(command, "digit") == "no run 'digit' in 'runs'; did you mean 'digits'?"
    assert refused(command, "zzz") == "no run 'zzz' in 'runs'; valid: digits, fashion"
    (folder / "runs" / "empty").mkdir()
    assert refused(command, "empty").endswith("holds no search.yaml")


@pytest.mark.parametrize("text", ["train: [", "- a list", "", "\x01"], ids=["no YAML", "list", "empty", "binary"])
@pytest.mark.parametrize("command", ["results", "resume", "export"])
def test_a_damaged_config_of_a_run_is_named(refused, folder, command, text):
    make_run(folder, "digits", text)
    assert "runs/digits/search.yaml" in refused(command, "digits")


def test_nothing_is_exported_from_a_search_without_trials(refused, folder):
    make_run(folder, "digits")
    assert refused("export", "digits").startswith("run 'digits' has no best trial: it has no trials yet")


def test_runs_may_lie_elsewhere(refused, folder):
    make_run(folder, "digits")
    (folder / "runs").rename(folder / "elsewhere")
    assert refused("results", "digit", "--runs", "elsewhere") == "no run 'digit' in 'elsewhere'; did you mean 'digits'?"


# --- schema ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def schema(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["thaw", "schema"])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("file", sorted((PROJECT / "examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_schema_takes_the_examples(schema, file):
    jsonschema.validate(yaml.safe_load(file.read_text()), schema)


def test_the_schema_says_what_keys_mean(schema):
    stage = schema["$defs"]["Stage"]["properties"]
    assert stage["unfreeze_from"]["description"].startswith("First block that trains")
    assert schema["$defs"]["Asha"]["properties"]["reduction"]["minimum"] == 1.05
