"""Read a pickled ``.npy`` without running anything that the file names.

PIFu stores camera parameters as a pickled dictionary. A pickle can call any function; here the few names that a
dictionary of numbers needs are answered by inert stand-ins, every other name is refused, and NumPy's own unpickling
code never runs.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from robench.io.files import open_regular
from robench.io.images import UnreadableInput

_DTYPE = re.compile(r"[<>|=]?[biuf][1248]|[<>|=]?O8?")
_LARGEST = 1 << 20
_HIGHEST_SLOT = 10_000
_CONTAINERS = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "EMPTY_LIST", "DICT", "EMPTY_DICT")
_NEVER = ("DUP", "EMPTY_SET", "FROZENSET", "ADDITEMS", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID")
"""Operations that no dictionary of numbers needs."""


class _DType:
    """Stands for ``numpy.dtype``: remembers kind and byte order."""

    def __init__(self, spec: Any, *_: Any) -> None:
        if not isinstance(spec, str) or not _DTYPE.fullmatch(spec):
            raise pickle.UnpicklingError(f"a value of type {spec!r}")
        self.spec = spec.lstrip("<>|=")
        self.order = spec[0] if spec[0] in "<>" else "<"

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.order = state[1]

    @property
    def real(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.spec)


class _Array:
    """Stands for ``numpy.ndarray``: remembers shape, type and bytes."""

    shape: tuple[int, ...] = ()
    dtype: _DType
    fortran = False
    data: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def value(self) -> Any:
        if self.dtype.spec.startswith("O"):
            return self.data[0] if self.shape == () and isinstance(self.data, list) and len(self.data) == 1 else None
        flat = np.frombuffer(self.data, self.dtype.real)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: _DType, data: bytes) -> Any:
    return np.frombuffer(data, dtype.real, 1)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # How protocol 2 writes bytes.
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise pickle.UnpicklingError(f"an encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
}
for _package in ("numpy.core", "numpy._core"):
    _ALLOWED[(f"{_package}.multiarray", "_reconstruct")] = _reconstruct
    _ALLOWED[(f"{_package}.multiarray", "scalar")] = _scalar


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[(module, name)]
        except KeyError:
            raise pickle.UnpicklingError(f"the forbidden name {module}.{name}") from None


def _refuse_bombs(pickled: bytes) -> None:
    """Refuse a pickle whose reading would take all memory or all time, though it names nothing forbidden.

    A slot far up makes the reader allocate all slots below it. A pair of one pair twice, itself twice in a pair, and so
    on, is of exponential size for whoever looks through it, as a dictionary does with its keys; so a list, tuple or
    dictionary may be used once.
    """
    slots: dict[int, str] = {}
    before = ""
    for code, argument, _ in pickletools.genops(pickled):
        name = code.name
        if name in _NEVER:
            raise pickle.UnpicklingError(f"the operation {name}")
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            slot = len(slots) if argument is None else int(argument)
            if slot > _HIGHEST_SLOT:
                raise pickle.UnpicklingError(f"slot {slot}")
            slots[slot] = before
        elif name in ("GET", "BINGET", "LONG_BINGET") and slots.get(int(argument or 0)) in _CONTAINERS:
            raise pickle.UnpicklingError("one container in several places")
        before = name


def read_pickled_dict(path: Path) -> dict[str, Any]:
    """Read a dictionary of numbers and arrays from a ``.npy`` that `numpy.save` pickled.

    Args:
        path: The file, at most 1 MiB.

    Returns:
        Name → number, string or NumPy array.

    Raises:
        UnreadableInput: If the file is missing, damaged, too large, not a dictionary, or names anything but numbers and
            arrays.
    """
    try:
        with open_regular(path) as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise UnreadableInput(path, f"it has more than {_LARGEST} bytes; a parameter file has a few hundred")
        with io.BytesIO(data) as handle:
            version = np.lib.format.read_magic(handle)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            _, _, dtype = read_header(handle)
            if dtype != np.dtype(object):
                raise UnreadableInput(path, f"it holds an array of {dtype}, not a dictionary")
            _refuse_bombs(data[handle.tell() :])
            loaded = _Unpickler(handle, encoding="latin1").load()
            content = loaded.value() if isinstance(loaded, _Array) else loaded
            if not isinstance(content, dict):
                raise UnreadableInput(path, "it does not hold a dictionary")
            return {str(k): v.value() if isinstance(v, _Array) else v for k, v in content.items()}
    except FileNotFoundError:
        raise UnreadableInput(path, "there is no such file") from None
    except UnreadableInput:
        raise
    except pickle.UnpicklingError as error:
        raise UnreadableInput(path, f"its pickle asks for {error}; only numbers and arrays are allowed") from error
    except Exception as error:  # a damaged pickle fails in as many ways as it has bytes
        raise UnreadableInput(path, f"it is damaged ({type(error).__name__}: {error})") from error
