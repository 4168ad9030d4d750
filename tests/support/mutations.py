"""Files of runs and models as accidents and enemies leave them: other types, missing keys, ends, depths, sizes and encodings."""

import json
import random

import yaml

VALUES = (
    None, True, -1, 0, 10**400, 1e400, -1e400, float("nan"), "", "x", "\x00", "a\nb", "\udce4", [], [[]], {}, {"a": 1},
    [None], [1, "a"], "9" * 400, 2**63, -(2**63) - 1, {"": {"": []}},
)  # fmt: skip
RAW = (
    b"", b"\x00",
    b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"{", b"[]", b"null", b"1", b'"x"', b"\xe4", b"{" * 5000, b"[" * 10**5,
    b'{"a":' * 20_000, b"&a [*a]", b"a: &a [x]\nb: &b [*a, *a]", b"!!python/object/apply:os.system [id]", b"NaN", b"- a\n- b\n",
    b"1" * 10_000, b"{}\n{}\n", b"\n\n", b"a: b: c", b"%YAML 9.9\n---\n{}", b"? {a: 1}\n: 2",
)  # fmt: skip


def mutated(content: bytes, seed: int, *, lines: bool) -> bytes:
    """One mutation of a JSON, YAML or JSON-lines file, the same for the same seed."""
    draw = random.Random(seed)
    kind = draw.randrange(5)
    if kind == 0:
        return draw.choice(RAW)
    if kind == 1:
        return content[: draw.randrange(len(content))] if content else b""
    if kind == 2:
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 3, 20))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        return bytes(damaged)
    if lines:
        rows = content.splitlines()
        i = draw.randrange(len(rows))
        rows[i] = _replaced(json.loads(rows[i]), draw, json.dumps).encode("utf-8", "surrogatepass")
        return b"\n".join(rows) + b"\n"
    is_json = content.lstrip().startswith(b"{")
    data = json.loads(content) if is_json else yaml.safe_load(content)
    text = _replaced(data, draw, json.dumps if is_json else lambda value: yaml.safe_dump(value, allow_unicode=True))
    return text.encode("utf-8", "surrogatepass")


def _replaced(data, draw, dump):
    """The data with a key or an item removed, renamed or replaced, at any depth."""
    if not (places := list(_places(data))):
        return dump(draw.choice(VALUES[:10]))
    holder, key = draw.choice(places)
    action = draw.randrange(4)
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[draw.choice(("", "x", "\n", "a.b", "\udce4"))] = holder.pop(key)
    else:
        holder[key] = draw.choice(VALUES)
    try:
        return dump(data)
    except (ValueError, yaml.YAMLError, UnicodeError):
        return dump({})


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item)
