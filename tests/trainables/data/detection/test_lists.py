"""Lists of images and labels in text and JSON: read as people publish them, and never a crash."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.published_data import save_image, save_table
from trainables.data.detection.detect_source import detect_source
from trainables.data.detection.kinds.lists import detect_table_or_list
from trainables.data.detection.wishes import Wishes
from trainables.data.sources.source import UnknownDataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images a/0.png … b/5.png."""
    root = tmp_path_factory.mktemp("lists") / "here"
    for label in "ab":
        for i in range(6):
            save_image(root / label / f"{i}.png")
    return root


PAIRS = [(f"{label}/{i}.png", label.upper()) for label in "ab" for i in range(6)]
LISTS = {
    "image to label.json": json.dumps(dict(PAIRS)),
    "label to images.json": json.dumps({label.upper(): [f"{label}/{i}.png" for i in range(6)] for label in "ab"}),
    "records.json": json.dumps([{"file": file, "label": label, "patient": file[-5]} for file, label in PAIRS]),
    "records.jsonl": "\n".join(json.dumps({"file": file, "label": label}) for file, label in PAIRS),
    "pairs.txt": "\n".join(f"{file} {label}" for file, label in PAIRS),
    "pairs with tabs.lst": "\n".join(f"{file}\t{label}" for file, label in PAIRS),
    "classes as folders.txt": "\n".join(file.removesuffix(".png") for file, _ in PAIRS),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_says_the_label_of_each_image(folder, name):
    (folder / name).write_text(LISTS[name])
    rows = detect_table_or_list(folder / name, Wishes()).rows
    assert rows["path"].tolist() == [str(folder / file) for file, _ in PAIRS]
    assert [label.upper() for label in rows["label"]] == [label for _, label in PAIRS]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a/0.png", "b/1.png", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["images", "annotations", "categories", "id", "image_id", "file_name", "a/0.png"]), inner)
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=anything)
def test_any_json_is_a_list_or_none_or_one_message(folder, content):
    file = folder / "any.json"
    file.write_text(json.dumps(content))
    try:
        found = detect_table_or_list(file, Wishes())
    except UnknownDataError as error:
        assert str(error).startswith(f"{file}: ")  # noqa: PT017  any of several messages
    else:
        assert found is None or found.rows is not None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60), suffix=st.sampled_from([".csv", ".txt", ".json", ".parquet", ".dat"]))
def test_any_bytes_are_a_table_or_none_or_one_message(folder, content, suffix):
    file = folder / f"any{suffix}"
    file.write_bytes(content)
    try:
        detect_table_or_list(file, Wishes())
    except UnknownDataError as error:
        assert str(error).startswith(f"{file}: ")  # noqa: PT017  any of several messages


def test_a_table_that_knows_the_patients_is_used_instead_of_class_folders(tmp_path):
    root = tmp_path / "here"
    rows = [
        {"file": f"{label}/{i}.png", "label": label, "patient": f"{label}{i // 2}"} for label in "ab" for i in range(6)
    ]
    for row in rows:
        save_image(root / row["file"])
    save_table(root / "list.csv", rows)
    found = detect_source(root)
    assert (found.data["source"], found.data["columns"]["group"]) == ("table", "patient")
