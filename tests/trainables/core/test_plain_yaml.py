"""YAML is read as YAML 1.2 has it, in bounded memory, and what is written is read the same by readers of either version."""

import pytest
import yaml

from trainables.core.plain_yaml import dump_yaml, load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, word) for word in ("yes", "no", "on", "off", "010", "1:30", "2020-01-01", "1_000", "0b1", "=")],
        *[("true", True), ("False", False), ("~", None), ("null", None), ("", None)],
        *[
            ("12", 12),
            ("-3", -3),
            ("0x10", 16),
            ("0o17", 15),
            ("1e-3", 0.001),
            (".5", 0.5),
            ("1.", 1.0),
            ("+1.5E3", 1500.0),
        ],
    ],
)
def test_plain_scalars_are_read_as_yaml_1_2_has_them(text, value):
    assert (load_yaml(text), type(load_yaml(text))) == (value, type(value))
    assert load_yaml(f"{{{text or '~'}: 1}}") == {value: 1}


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    "value", ["yes", "010", "1e3", "0o10", "1:30", "2020-01-01", "null", "<<", 1e-5, 1e22, 2**62, True, None, "a: b"]
)
def test_what_is_written_is_read_the_same_by_readers_of_either_version(value, fast):
    text = dump_yaml({"key": value}, fast=fast)
    assert load_yaml(text) == yaml.safe_load(text) == {"key": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!int '3'", "the tag '!!int' is not read"),
        ("!!python/object/apply:os.system [x]", "the tag '!!python/object/apply:os.system"),
        ("a: &a [1, *a]", "contains itself"),
        ("[" * 90 + "]" * 90, "nested too deeply"),
        ("9" * 500, "a number of 500 digits"),
        ("a: 1\na: 2", "'a' appears twice"),
        ("x" * (8 * 2**20 + 1), "more than 8,388,608 characters"),
    ],
)
def test_what_is_not_plain_or_too_large_is_refused(text, message):
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)
