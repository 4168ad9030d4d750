"""Whatever stands in a config file or an override: it loads, or one short message says what is wrong. Nothing else comes out."""

import functools
import random
import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.config.search_config import json_schema
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_recipe, load_search

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
TEXTS = [file.read_text() for file in EXAMPLES]

NASTY = [
    *(
        "",
        "yes",
        "no",
        "010",
        "1:30",
        "~",
        "null",
        "true",
        "-1",
        "0",
        "1",
        "1e-30",
        "1e308",
        ".inf",
        ".nan",
        "0x7f",
        "1_000",
    ),
    *(
        "1e999",
        "9" * 400,
        "9" * 5000,
        "1000000000",
        "100000",
        "2020-13-45",
        "!!int ''",
        "!!map x",
        "!!python/name:os.system x",
    ),
    *(
        "[" * 50,
        "[" * 3000,
        "[]",
        "{}",
        "[[]]",
        "{a: 1}",
        "&a [*a]",
        "*a",
        "? x",
        "- x",
        "<<: 1",
        "'",
        '"\\0"',
        '"a\\0b"',
        '"\\e[31m"',
    ),
    *(
        "~nouser/x",
        "~",
        "../..",
        "/dev/null",
        "http://x y",
        "s3://",
        '"\\n\\nerror: forged"',
        "x" * 3000,
        "é" * 40,
        "%",
        "@",
        "`",
    ),
    *(
        "{choice: [1, 1.0]}",
        "{int: [1, 1000000000]}",
        "{int: [0, 99999999999999999999]}",
        "{float: [0, 1], step: 1e-30}",
    ),
    *(
        "{log: [1e-320, 1e308]}",
        "{one_minus_log: [0.1, 0.99999999999999999]}",
        "{float: [-1e308, 1e308]}",
        "{choice: [[1]]}",
    ),
    *(
        "{int: [1, 8], when: {train.batch_size: 3}}",
        "{choice: [null]}",
        "{int_log: [1, 9007199254740993]}",
        "{kind: x}",
    ),
]


def outcome(load, file, overrides=()):
    """How loading ends: `loaded` or `refused`; fails if it is anything else, or takes long."""
    begun = time.perf_counter()
    try:
        load(read_source(file, overrides))
    except InputError as error:
        message = str(error)
        assert message.strip()
        assert len(message) < 30_000
        assert all(c.isprintable() for c in message.replace("\n", ""))
        assert not re.search(r"^error:", message, re.MULTILINE)
        return "refused"
    finally:
        assert time.perf_counter() - begun < 10
    return "loaded"


def mutant(chance):
    """An example with one to three changes of its text."""
    text = chance.choice(TEXTS)
    for _ in range(chance.randint(1, 3)):
        lines = text.split("\n")
        i = chance.randrange(len(lines))
        match chance.randrange(7):
            case 0:
                lines[i] = re.sub(r": .*", lambda _: f": {chance.choice(NASTY)}", lines[i], count=1)
            case 1:
                lines[i] = re.sub(r"(?<=: )[^,{}\[\]]+", lambda _: chance.choice(NASTY), lines[i], count=1)
            case 2:
                del lines[i]
            case 3:
                lines.insert(i, chance.choice(lines))
            case 4:
                at = chance.randrange(len(lines[i]) + 1)
                lines[i] = lines[i][:at] + chance.choice("[]{}:,#&*!|>'\"%@`\t -?0x\x07") + lines[i][at:]
            case 5:
                lines[i] = lines[i][: chance.randrange(len(lines[i]) + 1)]
            case 6:
                lines[i] = "  " * chance.randrange(4) + lines[i].strip()
        text = "\n".join(lines)
    return text


def try_mutants(file, *, seed, count=None, seconds=None):
    """Loads mutants until there are so many or so much time has passed; the number of each outcome."""
    chance, begun, counts = random.Random(seed), time.perf_counter(), {"loaded": 0, "refused": 0}
    while sum(counts.values()) != count and (seconds is None or time.perf_counter() - begun < seconds):
        text = mutant(chance)
        file.write_text(text)
        try:
            counts[outcome(chance.choice([load_search, load_search, load_recipe]), file)] += 1
        except Exception as error:
            raise AssertionError(f"this text breaks it:\n{text}") from error
    return counts


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "search.yaml"


def test_some_changes_of_the_examples_load_or_are_refused(file):
    counts = try_mutants(file, seed=16, count=40)
    assert counts["refused"] > counts["loaded"]


@pytest.mark.slow
def test_many_changes_of_the_examples_load_or_are_refused(file):
    assert sum(try_mutants(file, seed=17, seconds=8).values()) > 40


@functools.cache
def paths():
    """Dotted paths of all settings in the JSON schema of a search file."""
    schema = json_schema()
    found = {}

    def walk(node, path, depth):
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        if path:
            found[path] = None
        for part in (*node.get("anyOf", ()), *node.get("oneOf", ())):
            walk(part, path, depth)
        if depth < 6:
            for name, below in node.get("properties", {}).items():
                walk(below, f"{path}.{name}" if path else name, depth + 1)
            for below in [node["items"]] if isinstance(node.get("items"), dict) else node.get("prefixItems", ()):
                walk(below, f"{path}[0]", depth + 1)

    walk(schema, "", 0)
    return list(found)


scalars = st.one_of(
    st.sampled_from(NASTY),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=20).map(lambda text: yaml.safe_dump(text).strip()),
)


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    example=st.sampled_from(EXAMPLES),
    typed=st.lists(st.tuples(st.deferred(lambda: st.sampled_from(paths())), scalars), min_size=1, max_size=3),
    searched=st.booleans(),
)
def test_any_value_of_any_setting_loads_or_is_refused(example, typed, searched):
    overrides = [f"{path}={value}" for path, value in typed]
    if searched:
        overrides = [f"space={{{path!r}: {value}}}" for path, value in typed]
    outcome(load_search, example, overrides)
