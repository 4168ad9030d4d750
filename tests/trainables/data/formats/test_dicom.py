"""DICOM files become what a radiologist sees: rescaled, windowed, the right way round, decompressed, in RGB."""

import builtins
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from trainables.core.config_errors import ConfigError
from trainables.data.formats.image_files import is_image
from trainables.data.formats.images import BadImageError, Header, read_header, read_image
from trainables.data.sources.open_source import open_source
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.image_settings import Window


def real(name: str) -> Path:
    return Path(get_testdata_file(name, download=False))


@pytest.fixture
def write(tmp_path):
    """Writes [h, w], [frames, h, w] or [h, w, 3] as DICOM; attributes by keyword, None removes one."""

    def write_file(values: np.ndarray, name: str = "a.dcm", **attributes) -> Path:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        content = FileDataset(str(tmp_path / name), {}, file_meta=meta, preamble=b"\0" * 128)
        colour = values.ndim == 3 and values.shape[2] == 3
        bits = 8 * values.dtype.itemsize
        facts = {
            "SOPClassUID": CTImageStorage,
            "Rows": values.shape[-3 if colour else -2],
            "Columns": values.shape[-2 if colour else -1],
            "SamplesPerPixel": 3 if colour else 1,
            "PlanarConfiguration": 0 if colour else None,
            "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
            "BitsAllocated": bits,
            "BitsStored": bits,
            "PixelRepresentation": int(values.dtype.kind == "i"),
            "NumberOfFrames": len(values) if values.ndim == 3 and not colour else None,
            "PixelData": values.tobytes(),
        }
        for key, value in (facts | attributes).items():
            if value is not None:
                setattr(content, key, value)
        if "BitsStored" in content:
            content.HighBit = content.BitsStored - 1
        content.save_as(tmp_path / name)
        return tmp_path / name

    return write_file


def table(entries: bytes, count: int, first: int, bits: int) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [count, first, bits])
    item.add_new("LUTData", "OW", entries)
    return [item]


def grey(path: Path, **options) -> list[list[int]]:
    return read_image(path, grey=True, **options)[:, :, 0].tolist()


CT = np.int16([[-1000, 0, 100], [400, 1000, 3000]])
WIDE = {"WindowCenter": 200, "WindowWidth": 400}


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ({}, [[0, 64, 70], [89, 128, 255]]),
        # (x - (c - 0.5)) / (w - 1) + 0.5, as PS3.3 C.11.2.1.2 says
        (WIDE, [[0, 0, 64], [255, 255, 255]]),
        ({"WindowCenter": [200, 0], "WindowWidth": [400, 1]}, [[0, 0, 64], [255, 255, 255]]),
        (WIDE | {"VOILUTFunction": "LINEAR_EXACT"}, [[0, 0, 64], [255, 255, 255]]),
        (WIDE | {"VOILUTFunction": "SIGMOID"}, [[0, 30, 69], [225, 255, 255]]),
        (WIDE | {"RescaleSlope": 2, "RescaleIntercept": 100}, [[0, 64, 192], [255, 255, 255]]),
        (WIDE | {"RescaleSlope": -1, "RescaleIntercept": 400}, [[255, 255, 192], [0, 0, 0]]),
        (WIDE | {"PhotometricInterpretation": "MONOCHROME1"}, [[255, 255, 191], [0, 0, 0]]),
        ({"PixelPaddingValue": 3000}, [[0, 128, 140], [179, 255, 0]]),
        ({"PixelPaddingValue": -1000, "PhotometricInterpretation": "MONOCHROME1"}, [[0, 255, 247], [221, 170, 0]]),
        ({"PixelPaddingValue": -1000, "PixelPaddingRangeLimit": 100}, [[0, 0, 0], [0, 59, 255]]),
    ],
)
def test_grey_values_are_shown_as_the_file_says(write, attributes, shown):
    assert grey(write(CT, **attributes)) == shown


def test_a_window_of_the_config_goes_before_the_files(write):
    file = write(CT, **WIDE, RescaleSlope=1, RescaleIntercept=0, VOILUTFunction="SIGMOID")
    assert grey(file, window=Window(center=500, width=1000)) == [[0, 0, 26], [102, 255, 255]]


def test_a_table_goes_before_windows_also_where_its_entries_are_fewer_bits_than_its_positions(write):
    entries = (np.arange(4096) // 16).astype("<u2").tobytes()
    values = np.uint16([[0, 256, 1000], [2048, 4000, 4095]])
    file = write(values, BitsStored=12, **WIDE, VOILUTSequence=table(entries, 4096, 0, 8))
    assert grey(file) == [[0, 16, 62], [128, 250, 255]]
    inverted = write(values, BitsStored=12, ModalityLUTSequence=table(entries, 4096, 0, 8), **WIDE)
    assert grey(inverted)[0] == [0, 10, 40]  # of 0, 16, 62 in a window from 0 to 400


@pytest.mark.parametrize(
    ("values", "attributes", "shown"),
    [
        (np.uint8([[10, 20], [30, 40]]), {}, [[10, 20], [30, 40]]),
        (np.uint8([[1, 2], [3, 15]]), {"BitsStored": 4}, [[17, 34], [51, 255]]),
        (np.int8([[-128, -1], [0, 127]]), {}, [[0, 127], [128, 255]]),
        (np.uint8([[10, 20], [30, 40]]), {"PhotometricInterpretation": "MONOCHROME1"}, [[245, 235], [225, 215]]),
        (np.uint16([[7, 7], [7, 7]]), {}, [[0, 0], [0, 0]]),
        (np.uint16([[7, 7], [7, 7]]), {"PixelPaddingValue": 7}, [[0, 0], [0, 0]]),
    ],
)
def test_without_a_window_8_bits_stay_and_more_are_spread(write, values, attributes, shown):
    assert grey(write(values, **attributes)) == shown


def test_16_bits_are_kept(write):
    file = write(np.uint16([[0, 500], [1000, 2000]]), BitsStored=12)
    deep = read_image(file, grey=True, deep=True)
    assert deep.dtype == np.uint16
    assert deep[:, :, 0].tolist() == [[0, 16384], [32768, 65535]]


def test_frames_of_an_enhanced_image_have_windows_of_their_own(write):
    def group(center: float) -> Dataset:
        window, scale, made = Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 401
        scale.RescaleIntercept, scale.RescaleSlope, scale.RescaleType = 0, 1, "HU"
        made.FrameVOILUTSequence, made.PixelValueTransformationSequence = [window], [scale]
        return made

    frames = np.stack([CT[:, :2]] * 2)
    file = write(frames, PerFrameFunctionalGroupsSequence=[group(200.5), group(1000.5)])
    assert grey(file, frame=0)[1] == [255, 255]
    assert grey(file, frame=1)[1] == [0, 128]


# --- real files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_every_transfer_syntax_gives_the_same_image(name):
    assert read_header(real(name)) == Header(grey=True, deep=True)
    expected = grey(real("MR_small.dcm"))
    assert np.shape(expected) == (64, 64)
    assert np.std(expected) > 30
    assert grey(real(name)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_gdcm_KY.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_rle.dcm",
        "SC_rgb_rle_16bit.dcm",
        "SC_rgb_rle_32bit.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
    ],
)
def test_every_colour_model_becomes_rgb(name):
    assert read_header(real(name)) == Header(grey=False, deep=False)
    image = read_image(real(name), grey=False)
    assert (image.shape, image.dtype) == ((100, 100, 3), np.uint8)
    # Bars of red, green, blue and mixtures, one below the other.
    assert np.abs(image[[5, 25, 45], 50].astype(int) - [[255, 0, 0], [0, 255, 0], [0, 0, 255]]).max() <= 5


def test_a_palette_becomes_rgb():
    content = pydicom.dcmread(real("examples_palette.dcm"))
    expected = pydicom.pixels.apply_color_lut(content.pixel_array, content)
    image = read_image(real("examples_palette.dcm"), grey=False)
    assert np.abs(image - expected / np.iinfo(expected.dtype).max * 255).max() <= 0.51


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rtplan.dcm", r"without an image \(RT Plan Storage\)"),
        ("waveform_ecg.dcm", "without an image"),
        ("MR_truncated.dcm", "number of bytes of pixel data is less than expected"),
        ("JPEG-lossy.dcm", "damaged or unusual DICOM file: Unable to decode"),
        ("rtdose.dcm", "has 15 frames; choose one in data.frame: 0 to 14, or middle"),
        ("badVR.dcm", "invalid literal"),
        ("no_meta.dcm", "is not an image"),
    ],
)
def test_a_file_without_a_good_image_says_why(name, reason):
    with pytest.raises(BadImageError, match=f"{name}: .*{reason}"):
        read_image(real(name), grey=True)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"PhotometricInterpretation": "HSV"}, "is a DICOM file in HSV, which is not supported"),
        ({"PhotometricInterpretation": None}, "damaged or unusual DICOM file: .*PhotometricInterpretation"),
        ({"Rows": None}, "damaged or unusual DICOM file: .*Rows"),
        ({"Rows": 1, "Columns": 6}, "has 6 × 1 pixels; an image needs at least 2 along each side"),
        ({"Rows": 60000, "Columns": 60000}, "3,600,000,000 pixels, more than the limit of 178,956,970"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "Window Width must be greater"),
    ],
)
def test_what_cannot_be_shown_is_said(write, attributes, reason):
    with pytest.raises(BadImageError, match=reason):
        read_image(write(CT, **attributes), grey=True)


@pytest.mark.parametrize(("frame", "expected"), [(0, 0), ("middle", 1), (2, 2)])
def test_the_frame_is_chosen(write, frame, expected):
    frames = np.stack([np.full((4, 5), 60 * i, np.uint8) for i in range(3)])
    assert read_image(write(frames), grey=True, frame=frame).mean() == 60 * expected


def test_a_frame_that_is_not_there_is_said(write):
    with pytest.raises(BadImageError, match="has no frame 3: its 3 frames are counted from 0"):
        read_image(write(np.zeros((3, 4, 5), np.uint8)), grey=True, frame=3)
    with pytest.raises(BadImageError, match=r"has no frame 3$"):
        read_image(write(CT), grey=True, frame=3)


def test_without_pydicom_the_extra_is_named(write, monkeypatch):
    importing = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pydicom"):
            raise ImportError(name)
        return importing(name, *args, **kwargs)

    file = write(CT)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadImageError, match=r"is a DICOM file; to read it, `pip install 'thaw-search\[dicom\]'`"):
        read_image(file, grey=True)


# --- in sources -----------------------------------------------------------------------------------------------------


def test_class_folders_hold_dicom_files_beside_others(write, tmp_path):
    for i, name in enumerate(["a/1.dcm", "a/2.DCM", "b/1.dicom"]):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(write(np.full((4, 5), 50 * i, np.uint8)), tmp_path / "root" / name)
    Image.new("L", (5, 4), 150).save(tmp_path / "root/b/2.png")
    source = open_source(DataConfig(source="folder", path=str(tmp_path / "root")))
    reader = source.open()
    assert (reader.channels, reader.dtype) == (1, np.uint8)
    assert [int(reader.decode(i).mean()) for i in range(4)] == [0, 50, 100, 150]


def test_tables_name_dicom_files_without_suffix(write, tmp_path):
    write(CT, "IM0001", **WIDE)
    write(np.uint8([[1, 2], [3, 4]]), "IM0002")
    (tmp_path / "t.csv").write_text("path,label\nIM0001,a\nIM0002,b\n")
    config = DataConfig(source="table", path=str(tmp_path / "t.csv"))
    plain = open_source(config)
    assert plain.open().decode(0)[0, :, 0].tolist() == [0, 0, 64]
    windowed = open_source(config.model_copy(update={"window": Window(center=500, width=1000)}))
    assert windowed.open().decode(0)[0, :, 0].tolist() == [0, 0, 26]
    deep = open_source(config.model_copy(update={"bits": 16}))
    assert deep.open().dtype == np.uint16
    assert deep.open().decode(1)[0, :, 0].tolist() == [257, 514]
    assert len({source.key for source in (plain, windowed, deep)}) == 3


def test_16_bits_need_images_that_have_them(write, tmp_path):
    config = DataConfig(source="table", path=str(tmp_path / "t.csv"), bits=16)
    (tmp_path / "t.csv").write_text("path,label\na.dcm,a\nb.png,b\n")
    write(np.uint8([[1, 2], [3, 4]]))
    Image.new("RGB", (5, 4)).save(tmp_path / "b.png")
    with pytest.raises(
        ConfigError, match=r"^data.bits: 16: 1 of 2 images are in colour, with 8 bits a channel: .*b.png; remove"
    ):
        open_source(config).open()
    Image.new("L", (5, 4)).save(tmp_path / "b.png")
    with pytest.raises(ConfigError, match=r"^data.bits: 16: no image has more than 8 bits; remove it"):
        open_source(config).open()


def test_small_offences_against_the_standard_are_not_told():
    program = (
        f"from trainables.data.formats.images import *; read_image({str(real('MR_small_padded.dcm'))!r}, grey=True)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    "empty",
    [
        {"RescaleSlope": "", "RescaleIntercept": ""},
        {"WindowCenter": "", "WindowWidth": ""},
        {"VOILUTFunction": "", **WIDE},
        {"PixelPaddingValue": ""},
        {"VOILUTSequence": []},
        {"VOILUTSequence": table(b"", 0, 0, 16)},
        {"ModalityLUTSequence": table(b"", 0, 0, 16)},
    ],
    ids=lambda empty: next(iter(empty)),
)
def test_elements_without_a_value_count_as_absent(write, empty):
    values = {key: value for key, value in empty.items() if key in WIDE and value}
    assert grey(write(CT, **empty)) == grey(write(CT, **values))


@pytest.mark.parametrize(("pixels", "value", "vr"), [(CT, 2**16 - 1000, "US"), (CT.astype(np.uint16), -1000, "SS")])
def test_padding_is_read_as_the_pixels_are(write, pixels, value, vr):
    content = pydicom.dcmread(write(pixels, **WIDE))
    content.add_new("PixelPaddingValue", vr, value)
    content.PhotometricInterpretation = "MONOCHROME1"  # in which padding, shown black, differs from dark values
    content.save_as(content.filename)
    assert grey(Path(content.filename))[0][0] == 0


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_files_without_preamble_and_header_are_read(write, tmp_path, syntax):
    content = pydicom.dcmread(write(CT, **WIDE))
    content.file_meta, content.preamble = FileMetaDataset(), None
    implicit = syntax == ImplicitVRLittleEndian
    content.save_as(tmp_path / "old", implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert b"DICM" not in (tmp_path / "old").read_bytes()[:200]
    assert read_header(tmp_path / "old") == Header(grey=True, deep=True)
    assert grey(tmp_path / "old") == grey(write(CT, **WIDE))


def test_a_window_does_not_show_colours(write):
    with pytest.raises(BadImageError, match=r"is in colour, and data\.window shows grey values"):
        read_image(write(np.zeros((4, 4, 3), np.uint8)), grey=False, window=Window(center=0, width=1))


@pytest.mark.parametrize(
    "start", [b"\x08\0", b"\x08\0\x05\0CS\x0a\0", b"\x08\0\x08\0" + bytes(200), b"\x08\0\0\0\x04\0\0\0abcdXY"]
)
def test_other_files_are_not_taken_for_dicom(tmp_path, start):
    (tmp_path / "notes.dat").write_bytes(start)
    assert not is_image(tmp_path / "notes.dat")
