"""NIfTI files become volumes: the right way round, windowed, and what is wrong with one is said."""

import builtins
import gzip
import struct
from pathlib import Path

import nibabel
import nibabel.testing
import numpy as np
import pytest

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.data.formats import nifti
from trainables.data.formats.images import BadImageError
from trainables.data.formats.nifti import read_volume
from trainables.data.sources.open_source import open_source
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.image_settings import Window

RAMP = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
RAS = np.eye(4)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path):
    def write_file(values=RAMP, name="a.nii.gz", affine=RAS, kind=nibabel.Nifti1Image, slope=None) -> Path:
        image = kind(values, affine)
        if slope:
            image.header.set_slope_inter(*slope)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image, tmp_path / name)
        return tmp_path / name

    return write_file


def volume(path, low=0.0, high=255.0, **options) -> np.ndarray:
    """[d, h, w] through a window."""
    return read_volume(path, window=Window(center=(low + high) / 2, width=high - low), **options)[..., 0]


# --- spacing -------------------------------------------------------------------------------------------------------


def spaced(sides, codes):
    """An affine of voxels of these sides, x, y and z in mm, stored along axes in the order of the codes; turned by some degrees."""
    turned = np.array([[0.995, -0.0998, 0], [0.0998, 0.995, 0], [0, 0, 1]])
    straight = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(codes), (8, 8, 8))
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag(sides) @ straight[:3, :3]
    return affine


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "IPR"])
def test_the_spacing_is_that_of_the_turned_axes(write, codes):
    path = write(np.zeros((8, 8, 8), np.float32), affine=spaced((0.5, 1.0, 2.0), codes))
    assert nifti.read_grid(path).spacing == pytest.approx((2, 1, 0.5), rel=1e-3)
    assert read_volume(path, spacing=(1, 1, 1)).shape == (16, 8, 4, 1)


def test_a_header_in_micrometres_is_one_in_millimetres(write):
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.diag([500, 500, 2000, 1]))
    image.header.set_xyzt_units("micron")
    path = write()
    nibabel.save(image, path)
    assert nifti.read_grid(path).spacing == pytest.approx((2, 0.5, 0.5))


def test_nibabels_own_files_get_a_common_spacing():
    shapes = {}
    for path in sorted(nibabel.testing.data_path.glob("*.nii*")):
        try:
            shapes[path.name] = read_volume(path, spacing=(3, 2, 2)).shape
        except BadImageError as error:
            assert "axes instead of three" in str(error) or "invertible" in str(error)  # noqa: PT017
    assert shapes["standard.nii.gz"] == (4, 7, 2, 1)
    assert shapes["anatomical.nii"] == (16, 41, 33, 1)


# --- geometry -------------------------------------------------------------------------------------------------------


def test_slices_go_from_feet_to_head_as_dicom_shows_them(write):
    """In RAS+ files x grows to the right, y to the front and z to the head."""
    seen = volume(write())
    assert seen.shape == (4, 3, 2)
    for x, y, z in np.ndindex(RAMP.shape):
        assert seen[z, 2 - y, 1 - x] == RAMP[x, y, z]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SLA", "IPR"])
def test_however_a_file_stores_its_axes_the_volume_is_the_same(write, codes):
    image = nibabel.Nifti1Image(RAMP, np.diag([1, 2, 3, 1]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    stored = image.as_reoriented(turn)
    assert "".join(nibabel.aff2axcodes(stored.affine)) == codes
    again = write(np.asarray(stored.dataobj), f"{codes}.nii", stored.affine)
    assert (volume(again) == volume(write())).all()


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "b.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i2", np.float64])
def test_every_kind_of_file_holds_the_same(write, kind, name, dtype):
    assert (volume(write(RAMP.astype(dtype), name, kind=kind)) == volume(write())).all()


def test_an_empty_fourth_axis_is_none(write):
    assert (volume(write(RAMP[..., None], "b.nii")) == volume(write())).all()


# --- intensities ----------------------------------------------------------------------------------------------------


def test_values_are_scaled_as_the_file_says(write):
    file = write(np.arange(8, dtype=np.int16).reshape(2, 2, 2), slope=(10, -20))
    assert sorted(volume(file, -20, 50).ravel()) == [round(255 * i / 7) for i in range(8)]


@pytest.mark.parametrize(("deep", "highest"), [(False, 255), (True, 65535)])
def test_a_window_says_what_is_black_and_white(write, deep, highest):
    seen = read_volume(write(RAMP), deep=deep, window=Window(center=10, width=10))
    assert seen.dtype == (np.uint16 if deep else np.uint8)
    assert sorted(seen.ravel()) == [int(np.clip((v - 5) / 10, 0, 1) * highest + 0.5) for v in range(24)]


def test_without_a_window_few_voxels_do_not_decide_what_is_white(write):
    values = np.tile(np.linspace(100, 200, 1000, dtype=np.float32), 8).reshape(20, 20, 20)
    values[0, 0, 0] = 1e6
    seen = read_volume(write(values))
    plain = values != 1e6
    assert (seen[..., 0] == 255).mean() < 0.01
    order = np.argsort(values[plain])
    shown = seen[::1, ::-1, ::-1, 0].T[plain]
    assert (np.diff(shown[order].astype(int)) >= 0).all()
    assert shown.min() == 0
    assert shown.mean() == pytest.approx(127, abs=2)


def test_a_part_of_a_large_volume_says_its_range(write, monkeypatch):
    values = np.random.default_rng(0).normal(0, 10, (30, 40, 50)).astype(np.float32)
    whole = read_volume(write(values)).astype(int)
    monkeypatch.setattr(nifti, "_MOST_RANKED", 10_000)
    assert np.abs(read_volume(write(values)) - whole).max() < 12


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((4, 4, 4), 7.0), {0}),
        (np.where(np.arange(1000).reshape(10, 10, 10) == 500, 1, 0), {0, 255}),
        (np.where(np.arange(8).reshape(2, 2, 2) < 4, -3e38, 3e38), {0, 255}),
    ],
    ids=["all alike", "a mask of one voxel", "the whole range of floats"],
)
def test_unusual_ranges_fit(write, values, expected):
    assert set(read_volume(write(values.astype(np.float32))).ravel().tolist()) == expected


@pytest.mark.filterwarnings("error")
def test_what_is_no_finite_number_is_black_and_moves_no_other_voxel(write):
    values = np.where(RAMP < 3, [[[np.nan, np.inf, -np.inf, np.nan]]], RAMP).astype(np.float32)
    seen = read_volume(write(values))[..., 0].T[::-1, ::-1]
    assert (seen[RAMP < 3] == 0).all()
    assert seen[RAMP == 23] == 255
    assert (np.diff(seen[RAMP >= 3].astype(int)) > 0).all()


# --- what is wrong --------------------------------------------------------------------------------------------------

RGB = np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.zeros((4, 4, 4, 3), np.float32),
            "has 4 × 4 × 4 × 3 voxels, 4 axes instead of three; of a series, save one volume",
        ),
        (np.zeros((4, 4), np.float32), "has 4 × 4 voxels, 2 axes instead of three$"),
        (np.zeros((4, 4, 1), np.float32), "has 4 × 4 × 1 voxels; a volume needs at least 2 along each side"),
        (RGB, "holds colours; real numbers"),
        (RAMP + 1j, "holds complex numbers; real numbers"),
        (np.full((2, 2, 2), np.nan, np.float32), "holds no finite number"),
    ],
)
def test_a_file_with_something_else_in_it_is_bad(write, values, message):
    with pytest.raises(BadImageError, match=rf"a\.nii\.gz: {message}"):
        read_volume(write(values))


def of_dimensions(*sides):
    """Says in its header that it has so many voxels."""
    return lambda content: content[:40] + struct.pack("<8h", len(sides), *sides, *[1] * (7 - len(sides))) + content[56:]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda content: b"", "is empty"),
        (lambda content: b"no volume at all" * 50, "is not a NIfTI file, or its header is damaged"),
        (lambda content: content[:200], "is a damaged or unusual NIfTI file: "),
        (lambda content: content[:-20], "is a damaged or unusual NIfTI file: Expected 96 bytes, got 76"),
        (lambda content: gzip.compress(content)[:-20], "is a damaged or unusual NIfTI file: Compressed file ended"),
        (
            lambda content: gzip.compress(content)[:-8] + b"\0" * 8,
            "is a damaged or unusual NIfTI file: CRC check failed",
        ),
        (of_dimensions(2000, 2000, 2000), r"has 2000 × 2000 × 2000 voxels, more than the limit of 536,870,912"),
        (of_dimensions(-3, 3, 3), "is a damaged or unusual NIfTI file|has -3"),
        (
            lambda content: content[:70] + b"\xff\x7f" + content[72:],
            "is a damaged or unusual NIfTI file: .*not recognized",
        ),
        (None, "No such file"),
    ],
)
def test_a_damaged_file_is_bad_and_silent(write, harm, message, capfd):
    file = write(name="a.nii")
    content = file.read_bytes()
    file.unlink() if harm is None else file.write_bytes(harm(content))
    with pytest.raises(BadImageError, match=rf"^{file}: .*({message})"):
        read_volume(file)
    assert capfd.readouterr().err == ""


def test_without_nibabel_the_message_says_what_to_install(write, monkeypatch):
    file, original = write(), builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("nibabel"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(BadImageError, match=r"is a NIfTI file; to read it, `pip install 'thaw-search\[nifti\]'`"):
        read_volume(file)


# --- sources --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(write, tmp_path):
    """Class folders of three volumes each, of different sizes."""
    for i in range(6):
        write(
            np.full((4 + i, 5, 6), 40 * i, np.float32), f"scans/{'ab'[i % 2]}/{i}.{('nii', 'nii.gz', 'NII.GZ')[i % 3]}"
        )
    return tmp_path / "scans"


def config(path, **values):
    shown = {"window": {"center": 127.5, "width": 255}}
    return DataConfig.model_validate(
        {"source": "folder", "path": str(path), "image_size": 8, "depth": 4} | shown | values
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_class_folders_of_volumes_are_one_array(folders, bits):
    dataset = open_dataset(config(folders, bits=bits, validation=0.4))
    assert dataset.images.shape == (6, 4, 8, 8, 1)
    assert dataset.images.dtype == f"u{bits // 8}"
    assert dataset.size == "4 × 8 × 8 voxels"
    brightness = dataset.images.mean(axis=(1, 2, 3, 4)) / (1 if bits == 8 else 257)
    assert brightness == pytest.approx([0, 80, 160, 40, 120, 200], abs=0.51)


def test_bad_volumes_are_listed_together_or_left_out(folders, write):
    (folders / "a" / "0.nii").write_bytes(b"nothing")
    write(np.zeros((3, 3, 3, 7), np.float32), "scans/b/3.nii")
    message = r"(?s)2 of 6 images cannot be read:\n.*0\.nii: is not a NIfTI file.*\n.*3\.nii: has 3 × 3 × 3 × 7 voxels"
    with pytest.raises(ConfigError, match=message):
        open_dataset(config(folders, validation=0.4))
    left = open_dataset(config(folders, validation=0.5, on_bad="skip"))
    assert (len(left.images), left.left_out.images) == (4, 2)


def test_each_size_and_depth_and_window_is_kept_by_itself(folders):
    shapes = [(4, 8), (5, 8), (4, 9)]
    for depth, size in shapes:
        found = open_dataset(config(folders, depth=depth, image_size=size, validation=0.4))
        assert found.images.shape[1:] == (depth, size, size, 1)
    both = open_dataset(config(folders, validation=0.4), image_sizes=[12])
    assert both.images_at[12].shape == (6, 4, 12, 12, 1)
    assert open_source(config(folders, window=None)).key != open_source(config(folders)).key


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (None, r"^data\.depth: 6 of 7 files are NIfTI volumes \(.*\); set data\.depth to the number of slices"),
        (4, r"^data\.depth: 1 of 7 files are not NIfTI volumes \(.*x\.png\); data.depth needs \.nii or"),
    ],
)
def test_images_among_volumes_are_told_by_their_names(folders, depth, message):
    (folders / "a" / "x.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=message):
        open_dataset(config(folders, depth=depth, window=None, validation=0.4))


@pytest.mark.parametrize("affine", [np.zeros((3, 4)), np.full((3, 4), np.nan), np.diag([1, 1, 0, 1])[:3]])
def test_a_file_that_does_not_say_how_the_patient_lies_is_bad(write, affine):
    path = write(name="a.nii")
    content = bytearray(path.read_bytes())
    content[254:256] = struct.pack("<h", 1)
    content[280:328] = affine.astype("<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(BadImageError, match="does not say how the patient lies: its affine matrix is not invertible"):
        read_volume(path)
