"""Class folders as strangers have them: files that are images, links, folders of a split, and what is left aside."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset, open_test
from trainables.data.formats.dicom import patient_of
from trainables.data.sources.image_folder import read_image_folder
from trainables.data.sources.open_source import open_source
from trainables.data.sources.split_names import part_of
from trainables.recipe.data_config import DataConfig


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))


def write(file: Path, value: int = 100, form: str | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 12), (value,) * 3).save(file, format=form or (None if file.suffix else "PNG"))
    return file


def write_dicom(file: Path) -> None:
    image = pydicom.Dataset()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = SecondaryCaptureImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = generate_uid()
    image.Rows = image.Columns = 8
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = np.arange(64, dtype=np.uint8).tobytes()
    image.PatientID = " P7 "
    image.save_as(file, enforce_file_format=True)


def config(root: Path, **more: object) -> DataConfig:
    return DataConfig.model_validate({"source": "folder", "path": str(root), "image_size": 8, **more})


def photos(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        write(root / name, i)
    return root


# --- which files are images ---------------------------------------------------------------------------------------------


def test_images_are_known_by_their_names_or_their_content(tmp_path):
    for name, form in (
        ("a.jpg", None), ("b.JPG", "JPEG"), ("c.jfif", "JPEG"), ("d.jpe", "JPEG"), ("e.ppm", None), ("f.avif", None),
        ("g.jp2", None), ("photo", "PNG"), ("h.jpg_large", "JPEG"), ("i.1", "GIF"), ("j.tmp", "TIFF"),
    ):  # fmt: skip
        write(tmp_path / "x" / "cat" / name, form=form)
    write_dicom(tmp_path / "x" / "cat" / "1.2.840.113619.2.55")
    write(tmp_path / "x" / "dog" / "a.png")
    for name, content in (
        ("list.txt", b"cat"),
        ("b.svg", b"<svg/>"),
        ("c", b""),
        ("d.heic", b"\0\0\0 ftypheic"),
        ("e.eps", b"%!PS"),
    ):
        (tmp_path / "x" / "dog" / name).write_bytes(content)
    found = read_image_folder(tmp_path / "x")
    assert [image.label for image in found.images] == ["cat"] * 12 + ["dog"]
    (note,) = found.notes
    assert note.startswith("left aside, not images: 5 files: dog (")
    for kind in (".txt", ".svg", "without suffix", ".heic", ".eps"):
        assert f"1 {kind}" in note


def test_hidden_files_and_those_of_file_managers_are_not_looked_at(tmp_path):
    root = photos(
        tmp_path / "x", "cat/a.png", "dog/a.png", "cat/.b.png", ".git/c.png", "__MACOSX/cat/._a.png", "cat/@eaDir/t.png"
    )
    (root / "cat" / "Thumbs.db").write_bytes(b"x")
    found = read_image_folder(root)
    assert (len(found.images), found.notes) == (2, ())


def test_what_is_left_aside_is_told_when_a_search_is_checked(tmp_path):
    root = photos(tmp_path / "x", *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(4)), "beside.png")
    (root / "cat" / "a.mp4").touch()
    notes = open_dataset(config(root, validation=0.5)).notes
    assert notes == (
        "left aside, not images: 1 file: cat (1 .mp4)",
        "left aside, in no class folder: 1 image",
    )


# --- links -----------------------------------------------------------------------------------------------------------


def test_links_are_followed_but_not_in_rings(tmp_path):
    photos(tmp_path / "elsewhere", "1.png", "2.png")
    root = photos(tmp_path / "x", "dog/1.png")
    (root / "cat").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "dog" / "again").symlink_to(root, target_is_directory=True)
    (root / "dog" / "2.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    found = read_image_folder(root)
    assert [(image.label, Path(image.place).name) for image in found.images] == [
        ("cat", "1.png"),
        ("cat", "2.png"),
        ("dog", "1.png"),
        ("dog", "2.png"),
    ]


def test_a_file_in_two_classes_is_an_error_or_is_dropped(tmp_path):
    root = photos(tmp_path / "x", *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(4)))
    os.link(root / "cat" / "0.png", root / "dog" / "same.png")
    (root / "cat" / "twice.png").symlink_to(root / "cat" / "1.png")
    with pytest.raises(
        ConfigError, match=r"1 file is listed at several places with more than one class: .*0\.png.* = .*same\.png"
    ):
        open_source(config(root))
    source = open_source(config(root, on_conflict="drop"))
    assert np.bincount(source.labels).tolist() == [3, 4]
    assert source.notes == (
        "left out: 1 path to the file of another path",
        f"left out (data.on_conflict): 1 file at contradictory places: '{root}/cat/0.png'",
    )


# --- splits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"), ("Training", "train"), ("training_set", "train"), ("seg_train", "train"), ("train2017", "train"),
        ("trainset", "train"), ("images-train", "train"), ("val", "val"), ("valid", "val"), ("Validation", "val"), ("dev", "val"),
        ("test", "test"), ("Testing", "test"), ("test_images", "test"), ("TestA", None), ("train_station", None), ("trains", None),
        ("seg_pred", None), ("unlabelled", None), ("train_test", None), ("contest", None), ("", None),
    ],
)  # fmt: skip
def test_parts_of_a_split_are_known_by_their_names(name, part):
    assert part_of(name) == part


def split(root: Path, *parts: str, top: str = "") -> Path:
    return photos(root, *(f"{top}{part}/{name}/{i}.png" for part in parts for name in ("cat", "dog") for i in range(4)))


def test_folders_of_a_split_are_a_split(tmp_path):
    root = split(tmp_path / "x", "train", "valid", "test")
    data = open_dataset(config(root))
    assert (data.classes, len(data.train), len(data.validation)) == (("cat", "dog"), 8, 8)
    test = open_test(config(root), data)
    assert test is not None
    assert len(test.labels) == 8


def test_without_a_validation_folder_a_share_of_training_validates_and_test_stays_for_confirm(tmp_path):
    root = split(tmp_path / "x", "seg_train/seg_train", "seg_test/seg_test", "seg_pred")
    data = open_dataset(config(root))
    assert (len(data.train), len(data.validation)) == (6, 2)
    assert open_test(config(root), data) is not None
    assert data.notes == ("left aside, in no class folder: 8 images: seg_pred (8 files)",)


def test_a_typed_share_makes_a_split_of_its_own(tmp_path):
    root = split(tmp_path / "x", "train", "val")
    assert len(open_dataset(config(root, validation=0.25)).validation) == 4


def test_a_class_called_train_is_a_class(tmp_path):
    root = photos(tmp_path / "x", "train/1.png", "bus/1.png")
    assert open_source(config(root)).classes == ("bus", "train")


def test_the_only_folder_is_entered(tmp_path):
    root = split(tmp_path / "x", "photos")
    source = open_source(config(root))
    assert (source.classes, source.notes) == (("cat", "dog"), ("the classes are the folders in photos/",))


# --- names of classes -------------------------------------------------------------------------------------------------


def test_names_that_read_alike_are_one_class(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    root = photos(tmp_path / "x", f"{composed}/1.png", f"{decomposed}/2.png", "1.0/1.png", "1/2.png")
    source = open_source(config(root))
    assert source.classes == ("1", composed)
    assert np.bincount(source.labels).tolist() == [2, 2]


def test_names_that_differ_in_case_are_a_doubt_with_a_mapping(tmp_path):
    root = photos(tmp_path / "x", "Cat/1.png", "cat/1.png", "cat/2.png", "dog/1.png")
    (note,) = open_source(config(root)).notes
    assert note == (
        "labels that may be the same class: 'Cat' (1), 'cat' (2); if they are, write under data: "
        "labels: {Cat: cat, cat: cat, dog: dog}"
    )
    mapping = {"Cat": "cat", "cat": "cat", "dog": "dog"}
    assert open_source(config(root, labels=mapping)).classes == ("cat", "dog")


def test_masks_beside_their_images_are_told(tmp_path):
    root = photos(
        tmp_path / "x",
        "ill/a (1).png",
        "ill/a (1)_mask.png",
        "ill/a (1)_mask_1.png",
        "well/unmask.png",
        "well/mask.png",
    )
    (note,) = read_image_folder(root).notes
    assert note == "masks of other images, by their names: 2 images, such as 'a (1)_mask'; move them elsewhere"


def test_a_patient_is_read_with_and_without_the_mark_of_dicom(tmp_path):
    write_dicom(tmp_path / "marked")
    image = pydicom.dcmread(tmp_path / "marked")
    del image.file_meta, image.preamble
    pydicom.dcmwrite(tmp_path / "unmarked", image, implicit_vr=True, little_endian=True)
    assert [patient_of(tmp_path / name) for name in ("marked", "unmarked")] == ["P7", "P7"]
