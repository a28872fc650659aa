"""Named arrays of one file, NPZ or HDF5."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zoo.errors import InputError

NPZ_SUFFIXES = (".npz",)
HDF5_SUFFIXES = (".h5", ".hdf5")
ARRAY_SUFFIXES = NPZ_SUFFIXES + HDF5_SUFFIXES


def read_arrays(
    path: str | os.PathLike[str], keys: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read arrays by name.

    Args:
        path: an NPZ or HDF5 file.
        keys: what must be there.
        optional: what is read where it is there.

    Raises:
        InputError: the file is missing, damaged or of another kind, it lacks an array, or an array holds Python objects
            (which are never unpickled).
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in ARRAY_SUFFIXES:
        raise InputError(f"{path} is no file of arrays: give one that ends in {' or '.join(ARRAY_SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path} does not exist: check the path")
    read = _read_npz if suffix in NPZ_SUFFIXES else _read_hdf5
    try:
        arrays, names = read(path, (*keys, *optional))
    except InputError:
        raise
    except Exception as error:  # both libraries raise what their own libraries do
        raise InputError(f"{path} cannot be read ({error}): copy or save it again") from error
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise InputError(
            f"{path} has no array {' and no '.join(missing)} (it has: {', '.join(names)[:200]}): rename one"
        )
    return arrays


def _read_npz(path: Path, keys: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in keys if key in archive.files}, archive.files


def _read_hdf5(path: Path, keys: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path} needs h5py: `pip install h5py` brings it") from error
    with h5py.File(path, "r") as file:
        arrays = {key: np.asarray(file[key]) for key in keys if key in file}
        return arrays, list(file)
