"""Data sets in the forms in which people publish them, with tiny images: name -> function that makes one in a folder."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

_PIXELS = np.random.default_rng(0)

Maker = Callable[[Path], Path]
PUBLISHED: dict[str, Maker] = {}
"""Every form. Each maker returns the path that a newcomer would pass to `thaw init`."""


def published(make: Maker) -> Maker:
    """Adds a form."""
    PUBLISHED[make.__name__.replace("_", " ")] = make
    return make


def save_image(file: Path, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    """Writes an image of noise: width and height, `RGB` or `L`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] if mode == "L" else (*size[::-1], 3)
    Image.fromarray(_PIXELS.integers(0, 256, shape, dtype=np.uint8)).save(file)
    return file


def save_table(file: Path, rows: Sequence[Mapping[str, Any]], **how: Any) -> Path:
    """Writes a CSV."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(file, **({"index": False} | how))
    return file


def save_dicom(file: Path, patient: str) -> Path:
    """Writes a DICOM image of noise."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    content.SOPClassUID, content.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    content.PatientID, content.Rows, content.Columns = patient, 10, 12
    content.BitsAllocated, content.BitsStored, content.HighBit = 8, 8, 7
    content.SamplesPerPixel, content.PixelRepresentation = 1, 0
    content.PhotometricInterpretation = "MONOCHROME2"
    content.PixelData = _PIXELS.bytes(120)
    file.parent.mkdir(parents=True, exist_ok=True)
    content.save_as(file, enforce_file_format=True)
    return file


def save_nifti(file: Path, shape: tuple[int, ...] = (10, 12, 9)) -> Path:
    """Writes a volume of noise."""
    import nibabel

    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(_PIXELS.normal(size=shape).astype(np.float32), np.diag([1, 1, 3, 1])), file)
    return file


def labels(count: int, names: str = "abc") -> list[str]:
    return [names[i % len(names)] for i in range(count)]


# --- tables -----------------------------------------------------------------------------------------------------------


@published
def cassava_of_Kaggle(root: Path) -> Path:  # noqa: N802
    rows = [{"image_id": f"{1000 + i}.jpg", "label": i % 5} for i in range(40)]
    for row in rows:
        save_image(root / "train_images" / row["image_id"])
    save_image(root / "test_images" / "2216849948.jpg")
    (root / "label_num_to_disease_map.json").write_text(json.dumps({str(i): f"disease {i}" for i in range(5)}))
    save_table(root / "sample_submission.csv", [{"image_id": "2216849948.jpg", "label": 4}])
    return save_table(root / "train.csv", rows)


@published
def HAM10000(root: Path) -> Path:  # noqa: N802
    rows = []
    for i in range(36):
        name = f"ISIC_{24000 + i:07}"
        save_image(root / f"HAM10000_images_part_{1 + i % 2}" / f"{name}.jpg")
        rows.append({
            "lesion_id": f"HAM_{i // 2 :07}", "image_id": name, "dx": ("nv", "mel", "bkl")[i // 2 % 3],
            "dx_type": ("histo", "follow_up")[i % 2], "age": float(30 + i % 50),
            "sex": ("male", "female")[i % 2], "localization": ("back", "face", "scalp")[i % 3],
        })  # fmt: skip
    save_table(root / "HAM10000_metadata.csv", rows)
    return root


@published
def APTOS_of_Kaggle(root: Path) -> Path:  # noqa: N802
    rows = [{"id_code": f"{i:012x}", "diagnosis": i % 5} for i in range(1000, 1040)]
    for row in rows:
        save_image(root / "train_images" / f"{row['id_code']}.png")
    return save_table(root / "train.csv", rows)


@published
def RSNA_pneumonia(root: Path) -> Path:  # noqa: N802
    rows = []
    for i in range(24):
        name = f"0004cfab-14fd-{i:04}-80bd-6b6326cddd{i:02}"
        save_dicom(root / "stage_2_train_images" / f"{name}.dcm", f"p{i}")
        box = (
            {"x": 264.0, "y": 152.0, "width": 213.0, "height": 379.0}
            if i % 2
            else dict.fromkeys(("x", "y", "width", "height"))
        )
        rows += [{"patientId": name, **box, "Target": i % 2}] * (1 + i % 2)
    return save_table(root / "stage_2_train_labels.csv", rows)


@published
def facial_expressions(root: Path) -> Path:
    rows = [
        {"user.id": 628, "image": f"Person{i}_pose.jpg", "emotion": ("anger", "NEUTRAL", "happiness")[i % 3]}
        for i in range(30)
    ]
    for row in rows:
        save_image(root / "facial_expressions" / "images" / row["image"])
    save_table(root / "facial_expressions" / "data" / "500_picts_satz.csv", rows[:2])
    return save_table(root / "facial_expressions" / "data" / "legend.csv", rows)


@published
def ISIC_one_column_a_class(root: Path) -> Path:  # noqa: N802
    rows = [
        {"image": f"ISIC_{i:07}", **{name: float(j == i % 3) for j, name in enumerate(("MEL", "NV", "BCC"))}}
        for i in range(30)
    ]
    for row in rows:
        save_image(root / "ISIC2018_Task3_Training_Input" / f"{row['image']}.jpg")
    return save_table(root / "ISIC2018_Task3_Training_GroundTruth.csv", rows)


@published
def absolute_paths_of_another_machine(root: Path) -> Path:
    rows = [
        {"filepath": f"/home/alice/project/photos/{name}/{i}.png", "class": name}
        for name in ("cat", "dog")
        for i in range(12)
    ]
    for row in rows:
        save_image(root / "photos" / "/".join(row["filepath"].split("/")[-2:]))
    return save_table(root / "list.csv", rows)


@published
def paths_of_Windows(root: Path) -> Path:  # noqa: N802
    rows = [{"Path": f"Photos\\{name}\\IMG_{i}.JPG", "Class": name} for name in ("cat", "dog") for i in range(12)]
    for row in rows:
        save_image(root / row["Path"].replace("\\", "/").replace("Photos", "photos").replace("JPG", "jpg"))
    return save_table(root / "list.csv", rows)


@published
def semicolons_and_umlauts(root: Path) -> Path:
    rows = [
        {"Datei": f"bild{i}.png", "Klasse": ("Müll", "Käse")[i % 2], "Patient": f"P{i // 2 % 6}"} for i in range(24)
    ]
    for row in rows:
        save_image(root / row["Datei"])
    return save_table(root / "liste.csv", rows, sep=";", encoding="utf-8-sig")


@published
def a_table_without_header(root: Path) -> Path:
    rows = [{"path": f"img/{i}.png", "label": "ab"[i % 2]} for i in range(24)]
    for row in rows:
        save_image(root / row["path"])
    return save_table(root / "labels.csv", rows, header=False)


@published
def numbers_to_predict(root: Path) -> Path:
    rows = [
        {"image": f"{i}.png", "popularity": round(float(_PIXELS.normal()), 4), "photographer": f"u{i // 3}"}
        for i in range(36)
    ]
    for row in rows:
        save_image(root / row["image"])
    return save_table(root / "pictures.csv", rows)


@published
def bone_ages_with_ids(root: Path) -> Path:
    rows = [{"id": 1377 + i, "boneage": 20 + 3 * i, "male": bool(i % 2)} for i in range(40)]
    for row in rows:
        save_image(root / "boneage-training-dataset" / f"{row['id']}.png")
    return save_table(root / "boneage-training-dataset.csv", rows)


@published
def a_table_with_everything_wrong(root: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {
            "File": f"scan_{i:03}",
            "Diagnosis ": " benign" if i % 2 else "malignant", "MRN": f"{i // 3:05}", "Split": ("Training", "Testing")[i % 7 == 6]}
        for i in range(60)
    ]  # fmt: skip
    for row in rows[:-2]:
        save_image(root / "scans" / f"{row['File'].upper()}.PNG", mode="L")
    rows[3]["Diagnosis "] = None
    rows.append({**rows[4], "Diagnosis ": " benign"})
    rows[6]["MRN"] = None
    (root / "scans" / "SCAN_007.PNG").write_bytes(b"broken")
    return save_table(root / "exams.csv", rows, sep="\t")


@published
def train_val_and_test_tables(root: Path) -> Path:
    for part, count in (("train", 18), ("val", 6), ("test", 6)):
        rows = [{"image": f"{part}/{i}.png", "label": "abc"[i % 3]} for i in range(count)]
        for row in rows:
            save_image(root / row["image"])
        save_table(root / f"{part}.csv", rows)
    return root


@published
def chest_Xrays_of_NIH(root: Path) -> Path:  # noqa: N802
    found = ("No Finding", "Effusion|Mass", "Mass", "Effusion")
    rows = [
        {"Image Index": f"{i // 2:08}_{i % 2:03}.png", "Finding Labels": found[i // 2 % 4], "Patient Age": 30 + i}
        for i in range(48)
    ]  # fmt: skip
    for row in rows:
        save_image(root / "images_001" / "images" / str(row["Image Index"]), mode="L")
    return save_table(root / "Data_Entry_2017.csv", rows)


@published
def CheXpert(root: Path) -> Path:  # noqa: N802
    rows = [
        {"Path": f"CheXpert/train/patient{i // 2:05}/study1/view{i % 2}.jpg", "Sex": "F", "Edema": i % 3 == 0, "Mass": i % 4 == 0}
        for i in range(48)
    ]  # fmt: skip
    for row in rows:
        save_image(root / str(row["Path"]), mode="L")
    return save_table(root / "CheXpert" / "train.csv", rows)


@published
def a_table_in_Windows_1252(root: Path) -> Path:  # noqa: N802
    rows = [{"f": f"{i}.png", "k": ("Müll", "Käse")[i % 2]} for i in range(20)]
    for row in rows:
        save_image(root / row["f"])
    return save_table(root / "t.csv", rows, encoding="cp1252")


@published
def an_image_folder_of_Hugging_Face(root: Path) -> Path:  # noqa: N802
    for part in ("train", "test"):
        rows = [{"file_name": f"{i}.png", "label": "ab"[i % 2]} for i in range(12)]
        for row in rows:
            save_image(root / part / row["file_name"])
        save_table(root / part / "metadata.csv", rows)
    return root


# --- lists ------------------------------------------------------------------------------------------------------------


@published
def Food_101(root: Path) -> Path:  # noqa: N802
    names = {
        kind: [f"{kind}/{100 * j + i}" for i in range(10)] for j, kind in enumerate(("apple_pie", "sushi", "waffles"))
    }
    for images in names.values():
        for image in images:
            save_image(root / "images" / f"{image}.jpg")
    (root / "meta").mkdir()
    for part, of in (("train", slice(0, 8)), ("test", slice(8, 10))):
        (root / "meta" / f"{part}.json").write_text(json.dumps({kind: images[of] for kind, images in names.items()}))
        (root / "meta" / f"{part}.txt").write_text(
            "\n".join(image for images in names.values() for image in images[of])
        )
    (root / "meta" / "classes.txt").write_text("\n".join(names))
    return root


@published
def CUB_200(root: Path) -> Path:  # noqa: N802
    kinds = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
    images = [f"{kind}/{kind[4:]}_{i:04}.jpg" for kind in kinds for i in range(8)]
    for image in images:
        save_image(root / "images" / image)
    (root / "images.txt").write_text("".join(f"{i + 1} {image}\n" for i, image in enumerate(images)))
    (root / "classes.txt").write_text("".join(f"{i + 1} {kind}\n" for i, kind in enumerate(kinds)))
    (root / "image_class_labels.txt").write_text("".join(f"{i + 1} {i // 8 + 1}\n" for i in range(24)))
    (root / "train_test_split.txt").write_text("".join(f"{i + 1} {int(i % 4 != 3)}\n" for i in range(24)))
    (root / "bounding_boxes.txt").write_text("".join(f"{i + 1} 60.0 27.0 325.0 304.0\n" for i in range(24)))
    return root


@published
def Oxford_pets(root: Path) -> Path:  # noqa: N802
    for name in ("Abyssinian", "great_pyrenees", "Bombay"):
        for i in range(8):
            save_image(root / "images" / f"{name}_{i + 1}.jpg")
            save_image(root / "annotations" / "trimaps" / f"{name}_{i + 1}.png", mode="L")
    return root


@published
def dogs_and_cats_of_Kaggle(root: Path) -> Path:  # noqa: N802
    for name in ("cat", "dog"):
        for i in range(10):
            save_image(root / "train" / f"{name}.{i}.jpg")
    return root / "train"


@published
def a_list_of_ImageNet(root: Path) -> Path:  # noqa: N802
    lines = [f"val/ILSVRC2012_val_{i:08}.JPEG {i % 4}" for i in range(24)]
    for line in lines:
        file = save_image(root / line.split()[0].replace("JPEG", "jpg"))
        file.rename(file.with_suffix(".JPEG"))
    (root / "val.txt").write_text("\n".join(lines))
    return root / "val.txt"


@published
def ImageNet(root: Path) -> Path:  # noqa: N802
    for part, count in (("train", 8), ("val", 3)):
        for name in ("n01440764", "n01443537", "n01484850"):
            for i in range(count):
                save_image(root / "ILSVRC" / part / name / f"{name}_{part}_{i}.png")
    return root


@published
def COCO_with_one_object_an_image(root: Path) -> Path:  # noqa: N802
    images = [{"id": i, "file_name": f"{i:012}.png"} for i in range(20)]
    objects = [{"image_id": i, "category_id": 1 + i % 2, "bbox": [0, 0, 5, 5]} for i in range(20)]
    for image in images:
        save_image(root / "images" / str(image["file_name"]))
    content = {
        "images": images,
        "annotations": objects,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (root / "annotations.json").write_text(json.dumps(content))
    return root / "annotations.json"


@published
def tiny_ImageNet(root: Path) -> Path:  # noqa: N802
    for name in ("n01443537", "n01629819"):
        for i in range(10):
            save_image(root / "train" / name / "images" / f"{name}_{i}.jpg")
        (root / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.jpg\t0\t0\t62\t62\n")
    for i in range(4):
        save_image(root / "val" / "images" / f"val_{i}.jpg")
    (root / "val" / "val_annotations.txt").write_text(
        "".join(f"val_{i}.jpg\tn01443537\t0\t0\t9\t9\n" for i in range(4))
    )
    return root


# --- folders ----------------------------------------------------------------------------------------------------------


@published
def class_folders(root: Path) -> Path:
    for name in ("cat", "dog", "eel"):
        for i in range(10):
            save_image(root / "photos" / name / f"{i}.png")
    return root / "photos"


@published
def class_folders_one_deeper(root: Path) -> Path:
    return class_folders(root / "download").parent


@published
def class_folders_of_a_split(root: Path) -> Path:
    for part, count in (("train", 8), ("valid", 3), ("test", 3)):
        for name in ("cat", "dog"):
            for i in range(count):
                save_image(root / "data" / part / name / f"{i}.png")
    return root / "data"


@published
def class_folders_and_their_table(root: Path) -> Path:
    folder = class_folders(root)
    files = sorted(folder.rglob("*.png"))
    save_table(
        folder / "list.csv", [{"filename": str(file.relative_to(folder)), "label": file.parent.name} for file in files]
    )
    return folder


@published
def images_with_a_table_of_other_labels(root: Path) -> Path:
    rows = [{"image": f"part{1 + i % 2}/{i}.png", "grade": f"G{i % 3}", "patient_id": f"p{i // 2}"} for i in range(36)]
    for row in rows:
        save_image(root / "set" / row["image"])
    save_table(root / "set" / "grades.csv", rows)
    return root / "set"


@published
def classes_of_one_image_and_of_none(root: Path) -> Path:
    folder = class_folders(root)
    save_image(folder / "rare" / "1.png")
    (folder / "empty").mkdir()
    return folder


@published
def patients_in_file_names(root: Path) -> Path:
    for name in ("benign", "malignant"):
        for i in range(12):
            save_image(root / "mri" / name / f"patient{i // 3 + 10 * (name == 'benign')}_slice{i % 3}.png")
    return root / "mri"


@published
def images_that_Roboflow_augmented(root: Path) -> Path:  # noqa: N802
    for i in range(24):
        save_image(root / "leaves" / ("rust", "scab")[i // 3 % 2] / f"leaf{i // 3}_jpg.rf.{i:032x}.jpg")
    return root / "leaves"


@published
def persons_at_the_start_of_file_names(root: Path) -> Path:
    for name in ("anger", "happy"):
        for i in range(24):
            save_image(root / "ck" / name / f"S{i // 4:03}_001_{i:08}.png", mode="L")
    return root / "ck"


@published
def DICOM_studies(root: Path) -> Path:  # noqa: N802
    for j, name in enumerate(("normal", "tumour")):
        for i in range(12):
            save_dicom(root / "ct" / name / f"1.2.840.{j}.{i // 3}" / f"{i}.dcm", f"PAT{j}{i // 3}")
    return root / "ct"


@published
def NIfTI_folders(root: Path) -> Path:  # noqa: N802
    for name in ("AD", "CN"):
        for i in range(6):
            save_nifti(root / "adni" / name / f"sub-{name}{i:02}" / "anat" / f"sub-{name}{i:02}_T1w.nii.gz")
    return root / "adni"


@published
def NIfTI_with_a_table(root: Path) -> Path:  # noqa: N802
    for i in range(12):
        save_nifti(root / "BIDS" / f"sub-{i:02}" / "anat" / f"sub-{i:02}_T1w.nii.gz")
    rows = [
        {
            "participant_id": f"sub-{i:02}",
            "scan": f"sub-{i:02}_T1w.nii.gz",
            "sex": "MF"[i % 2],
            "group": ("control", "patient")[i % 2],
        }
        for i in range(12)
    ]
    return save_table(root / "BIDS" / "participants.tsv", rows, sep="\t")


@published
def animations_and_broken_files(root: Path) -> Path:
    folder = class_folders(root)
    frames = [Image.fromarray(_PIXELS.integers(0, 256, (9, 9), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(folder / "cat" / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "dog" / "0.png").write_bytes(b"")
    (folder / "dog" / "Thumbs.db").write_bytes(b"x")
    return folder


@published
def four_pixels(root: Path) -> Path:
    for name in "ab":
        for i in range(6):
            save_image(root / "tiny" / name / f"{i}.png", size=(4, 4), mode="L")
    return root / "tiny"


@published
def two_images_of_each_of_many_classes(root: Path) -> Path:
    for i in range(60):
        for j in range(2):
            save_image(root / "persons" / f"id{i:04}" / f"{j}.png")
    return root / "persons"


@published
def very_imbalanced(root: Path) -> Path:
    for name, count in (("common", 80), ("rare", 3), ("rarer", 2)):
        for i in range(count):
            save_image(root / "cells" / name / f"{i}.png")
    return root / "cells"


# --- arrays -----------------------------------------------------------------------------------------------------------


def save_npz(file: Path, shape: tuple[int, ...], classes: int = 3) -> Path:
    """Writes a file like MedMNIST's."""
    arrays = {}
    for part, count in (("train", 24), ("val", 6), ("test", 6)):
        arrays[f"{part}_images"] = _PIXELS.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % classes)[:, None]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **arrays)
    return file


@published
def MedMNIST(root: Path) -> Path:  # noqa: N802
    return save_npz(root / "bloodmnist.npz", (28, 28, 3))


@published
def MedMNIST_3D(root: Path) -> Path:  # noqa: N802
    return save_npz(root / "organmnist3d.npz", (14, 14, 14))


@published
def Fashion_MNIST(root: Path) -> Path:  # noqa: N802
    root.mkdir(exist_ok=True)
    for part, count in (("train", 60), ("t10k", 10)):
        with gzip.open(root / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">IIII", 0x803, count, 28, 28) + _PIXELS.bytes(count * 784))
        with gzip.open(root / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 0x801, count) + bytes(i % 10 for i in range(count)))
    return root
