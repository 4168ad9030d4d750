"""YAML with the places of its keys: what is read, what is refused, and how a mistake is located."""

import itertools
import textwrap

import pytest

from search.config.yaml_source import InputError, read_source
from trainables.core.config_errors import Problem

TEXT = """\
# a comment
data:
  source: digits

train:
  stages:
    - name: head
      epochs: 4
    - name: top
      plateau: {patience: 2}
  batch_size: 32
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    """`read(text, *overrides)`: from a file search.yaml in the working directory."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "search.yaml"

    def read_text(text, *overrides):
        file.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return read_source(file.relative_to(tmp_path), overrides)

    return read_text


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n" for before, after in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("data",), 2),
        (("data", "source"), 3),
        (("train", "stages"), 6),
        (("train", "stages", 0), 7),
        (("train", "stages", 0, "name"), 7),
        (("train", "stages", 0, "epochs"), 8),
        (("train", "stages", 1, "plateau", "patience"), 10),
        (("train", "batch_size"), 11),
    ],
)
def test_each_key_and_item_has_its_line(read, path, line):
    assert read(TEXT).lines[path] == line


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("train", "stages", 1, "plateau", "threshold"), "search.yaml:10 train.stages[1].plateau.threshold: wrong"),
        (("data", "path", "deeper"), "search.yaml:2 data.path.deeper: wrong"),
        (("space",), "search.yaml:1 space: wrong"),
    ],
)
def test_what_is_missing_is_located_at_what_it_is_missing_in(read, path, place):
    assert read(TEXT).describe([Problem(path, "wrong")]) == place


def test_problems_are_listed_by_line_each_once(read):
    problems = [
        Problem(("train", "batch_size"), "b"),
        Problem(("space",), "no line of its own"),
        Problem(("data", "source"), "a"),
        Problem(("train", "batch_size"), "b"),
        Problem(("data", "source"), "also"),
    ]
    assert read(TEXT).describe(problems).splitlines() == [
        "search.yaml:1 space: no line of its own",
        "search.yaml:3 data.source: a",
        "search.yaml:3 data.source: also",
        "search.yaml:11 train.batch_size: b",
    ]


@pytest.mark.parametrize(
    ("override", "path", "place"),
    [
        pytest.param(
            "train.batch_size=0",
            ("train", "batch_size"),
            "command line (train.batch_size=0) train.batch_size",
            id="what was typed",
        ),
        pytest.param(
            "train.batch_size=0",
            ("train", "stages", 0, "epochs"),
            "search.yaml:8 train.stages[0].epochs",
            id="what was not",
        ),
        pytest.param(
            "train.stages[*].epochs=0",
            ("train", "stages", 1, "epochs"),
            "command line (train.stages[*].epochs=0) train.stages[1].epochs",
            id="all items",
        ),
        pytest.param(
            "train.stages[-1].epochs=0",
            ("train", "stages", 1, "epochs"),
            "command line (train.stages[-1].epochs=0) train.stages[1].epochs",
            id="counted from the end",
        ),
        pytest.param("data={}", ("data", "source"), "command line (data={}) data.source", id="below what was replaced"),
        pytest.param(
            "search.trials=0", ("search", "trials"), "command line (search.trials=0) search.trials", id="new key"
        ),
        pytest.param(
            "search.x.y=0", ("search", "x"), "command line (search.x.y=0) search.x", id="made for what was typed"
        ),
        pytest.param("data.path=x", ("data",), "search.yaml:2 data", id="around what was typed"),
    ],
)
def test_an_override_is_the_place_of_its_mistakes(read, override, path, place):
    assert read(TEXT, override).describe([Problem(path, "wrong")]) == f"{place}: wrong"


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("1e-3", 1e-3),
        ("1E3", 1000.0),
        ("-2e+4", -2e4),
        ("1.5e-3", 1.5e-3),
        ("0.1", 0.1),
        ("12", 12),
        ("1e", "1e"),
        ("e3", "e3"),
        ("true", True),
        ("null", None),
        ("", None),
        ("features.12", "features.12"),
        ("last:2", "last:2"),
        ("[1, 2]", [1, 2]),
        ("{log: [1e-4, 1]}", {"log": [1e-4, 1]}),
    ],
)
def test_values_are_what_people_mean_in_files_and_typed(read, typed, value):
    in_file = read(f"a: {typed}\n").data["a"]
    assert in_file == value
    assert type(in_file) is type(value)
    assert read("b: 1\n", f"a={typed}").data == {"b": 1, "a": value}


def test_the_last_override_wins(read):
    source = read(TEXT, "train.batch_size=1", "train.batch_size=2", "train={batch_size: 3}")
    assert source.data["train"] == {"batch_size": 3}
    assert source.describe([Problem(("train", "stages"), "gone")]) == (
        "command line (train={batch_size: 3}) train.stages: gone"
    )


def test_a_value_may_hold_an_equals_sign(read):
    assert read("a: 1\n", "a=b=c").data == {"a": "b=c"}


def test_anchors_and_merge_keys_are_read(read):
    source = read("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n")
    assert source.data["c"] == {"b": 1, "d": 2}


@pytest.mark.parametrize(
    ("text", "data"),
    [("", {}), ("# nothing\n", {}), ("\ufeffa: 1\n", {"a": 1}), ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2})],
)
def test_unusual_files_are_read(read, text, data):
    assert read(text).data == data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: [1\n", r"search.yaml:2 is not valid YAML: expected ',' or '\]'", id="bracket left open"),
        pytest.param("a:\n\tb: 1\n", r"search.yaml:2 is not valid YAML: found character '\\t'", id="tab"),
        pytest.param("a: 1\n---\nb: 2\n", "search.yaml:2 is not valid YAML: but found another", id="two documents"),
        pytest.param(
            "a: 1\nb: 2\na: 3\n", "search.yaml:3 is not valid YAML: the key 'a' appears twice", id="key twice"
        ),
        pytest.param("a:\n  b: 1\n  b: 2\n", "search.yaml:3 is .* the key 'b' appears twice", id="nested key twice"),
        pytest.param(
            "a: !!python/name:os.system x\n",
            "search.yaml:1 is .*: the tag '!!python/name:os.system' is not read; remove it",
            id="code",
        ),
        pytest.param("? [a]\n: 1\n", "search.yaml:1 is .* a list or mapping cannot be a key", id="list as key"),
        pytest.param("a: &x [*x]\n", "search.yaml:1 is not valid YAML: something in it contains itself", id="endless"),
        pytest.param(
            "[" * 200 + "]" * 200, "search.yaml.* is not valid YAML: its brackets are nested too deeply", id="brackets"
        ),
        pytest.param("a: " + "9" * 5000, "search.yaml:1 is .*…: a number of 5000 digits", id="digits"),
        pytest.param(
            LAUGHS, r"search.yaml:\d is .*: it has more than 300,000 values, aliases written out", id="laughs"
        ),
        pytest.param(
            "a: {path: [x].csv}",
            "search.yaml:1 is .*put quotes around text with brackets",
            id="bracket in a path",
        ),
        pytest.param("a:\n\tb: 1\n", "search.yaml:2 is .*indent with blanks, not tabs", id="tab"),
        pytest.param(
            "a: \x01\n", "search.yaml is not valid YAML: unacceptable character #x0001", id="control character"
        ),
        pytest.param("- a\n", "search.yaml:1 must be a mapping with keys such as data, model and train", id="list"),
        pytest.param("just words\n", "search.yaml:1 must be a mapping .*, not str", id="words"),
        pytest.param(b"a: \xff\n", "search.yaml is not a text file: invalid start byte at byte 3", id="not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(read, text, message):
    with pytest.raises(InputError, match=f"^{message}") as caught:
        read(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batch_size", r"command line: 'train.batch_size' is not an override; write it as train.batch_size=64"),
        ("=3", r"command line \(=3\): '' is not a path"),
        ("a b=3", r"command line \(a b=3\): 'a b' is not a path"),
        ("train.stages[2].epochs=3", r"command line \(.*\): train.stages has no item \[2\]; it has 2 items"),
        ("train.stages[tpo].epochs=3", r"command line \(.*\): train.stages has no item named 'tpo' \(head, top\)"),
        ("train.batch_size.x=3", r"command line \(.*\): train.batch_size has no keys, so it has no 'x'"),
        ("train.batch_size=[1", r"command line \(.*\): expected ',' or '\]'"),
        ("train={a: 1, a: 2}", r"command line \(.*\): the key 'a' appears twice"),
    ],
)
def test_an_override_that_cannot_be_used_is_refused_in_one_line(read, override, message):
    with pytest.raises(InputError, match=f"^{message}") as caught:
        read(TEXT, override)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_is_a_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.yaml cannot be read: No such file or directory$"):
        read_source(tmp_path / "nothing.yaml")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory$"):
        read_source(tmp_path)
