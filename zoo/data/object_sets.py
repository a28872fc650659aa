"""ModelNet40 and ScanObjectNN, objects to classify, in the HDF5 files that their benchmarks use.

Wu et al. 2015, "3D ShapeNets" (files of Qi et al. 2017, PointNet); Uy et al. 2019, "Revisiting point cloud
classification" (https://arxiv.org/abs/1908.04616).
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

from zoo.data.class_names import class_names
from zoo.data.point_dataset import PathLike, PointArrays
from zoo.errors import InputError
from zoo.weights import PointInput

INPUT = PointInput(1024, (), "mean", "unit_sphere")
SCANOBJECTNN_CLASSES = (
    *("bag", "bin", "box", "cabinet", "chair", "desk", "display", "door"),
    *("shelf", "table", "bed", "pillow", "sink", "sofa", "toilet"),
)
VARIANTS = {
    "plain": "objectdataset",
    "t25": "objectdataset_augmented25_norot",
    "t25_r": "objectdataset_augmented25rot",
    "t50_r": "objectdataset_augmentedrot",
    "t50_rs": "objectdataset_augmentedrot_scale75",
}
"""ScanObjectNN's perturbations of the box around an object, by the names in the paper, to the names of the files."""


def modelnet40(
    root: PathLike, split: Literal["train", "test"], num_points: int = 1024, normals: bool = False
) -> PointArrays:
    """ModelNet40: the files that ``root/train_files.txt`` or ``root/test_files.txt`` lists, a name a line.

    The lists name the files by a path of long ago; they are looked for beside the list.

    Args:
        root: the folder.
        split: which list.
        num_points: of a sample, of 2048.
        normals: append them; the files of the 2017 release have some.

    Raises:
        InputError: a file is missing or not the set's.
    """
    listing = Path(root) / f"{split}_files.txt"
    try:
        names = [PurePosixPath(line).name for line in listing.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{listing} cannot be read ({error}): give the folder modelnet40_ply_hdf5_2048") from error
    files = [Path(root) / name for name in names]
    return PointArrays(files, class_names("modelnet40"), num_points, normals, training=split == "train")


def scanobjectnn(
    root: PathLike,
    split: Literal["train", "test"],
    variant: Literal["plain", "t25", "t25_r", "t50_r", "t50_rs"] = "t50_rs",
    background: bool = True,
    num_points: int = 1024,
) -> PointArrays:
    """ScanObjectNN, its main split: ``root/main_split/`` or ``root/main_split_nobg/``.

    Args:
        root: the folder ``h5_files``.
        split: which part.
        variant: "plain" is OBJ_BG (or OBJ_ONLY without background), "t50_rs" the hardest, PB_T50_RS.
        background: whether the points around the object are there.
        num_points: of a sample, of 2048.

    Raises:
        InputError: the file is missing or not the set's, or the variant is unknown.
    """
    if variant not in VARIANTS:
        raise InputError(f"ScanObjectNN has no variant {variant!r}: take one of {', '.join(VARIANTS)}")
    folder = Path(root) / ("main_split" if background else "main_split_nobg")
    name = f"{'training' if split == 'train' else 'test'}_{VARIANTS[variant]}.h5"
    return PointArrays([folder / name], SCANOBJECTNN_CLASSES, num_points, training=split == "train")
