"""How the values of a map become bytes, and Python objects again.

A codec is an object with two methods: ``dumps(value)`` returns bytes (or another contiguous
buffer), ``loads(data)`` takes bytes and returns the value. A map has the codec that it was created
with; without one, its values are bytes.

=======  ======================================================  =========================
codec    values                                                  stored as
=======  ======================================================  =========================
BYTES    bytes, bytearray, memoryview; read back as bytes        these bytes
STR      str                                                     UTF-8
JSON     None, bool, int, float, str, list, dict with str keys   compact JSON in UTF-8
         (tuples come back as lists)
NUMPY    numpy arrays and scalars of every dtype without         the .npy format: dtype and
         objects; read back as read-only arrays without a copy   shape, then the elements
PICKLE   nearly every Python object                              pickle
=======  ======================================================  =========================

PICKLE is never chosen for you: reading a pickle runs whatever code its writer chose, so use it only
if everybody who may write to the map may also run code as you.

All codecs may be used from any thread. A value that a codec cannot store raises TypeError or
ValueError, and nothing is written. Bytes that a codec cannot read raise ``CorruptValue``; the key
stays as it is.
"""

from __future__ import annotations

import functools
import io
import json
import pickle
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ._codec import Codec

if TYPE_CHECKING:
    import numpy

__all__ = ["BYTES", "JSON", "NUMPY", "PICKLE", "STR", "Codec", "CorruptValue"]


class CorruptValue(ValueError):
    """The stored bytes are not what the codec of the map writes: something else wrote them."""


def _corrupt(codec: object, data: bytes, why: object) -> NoReturn:
    raise CorruptValue(
        f"these {len(data)} bytes are not a value of {codec!r}: {why}. "
        "Read the key with the codec that its writer used, or erase it."
    )


class _Codec:
    """A codec that pickles and prints as its name in this module, so that its map can be sent to
    other processes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"hostmap.codecs.{self._name}"

    def __reduce__(self) -> str:
        return self._name


class _Bytes(_Codec):
    def dumps(self, value: Any, /) -> Any:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"codecs.BYTES stores bytes, bytearray or memoryview, not {type(value).__name__}"
            )
        return value

    def loads(self, data: bytes, /) -> bytes:
        return data


class _Str(_Codec):
    def dumps(self, value: str, /) -> bytes:
        if not isinstance(value, str):
            raise TypeError(f"codecs.STR stores str, not {type(value).__name__}")
        return value.encode()

    def loads(self, data: bytes, /) -> str:
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError as error:
            _corrupt(self, data, error)


class _Json(_Codec):
    # NaN and the infinities are refused: other readers of JSON do not know them.
    _encode = staticmethod(
        json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    )
    _decode = staticmethod(json.JSONDecoder().decode)
    _decode_start = staticmethod(json.JSONDecoder().raw_decode)

    def dumps(self, value: Any, /) -> bytes:
        return self._encode(value).encode()

    def loads(self, data: bytes, /) -> Any:
        try:
            text = str(data, "utf-8")
            try:
                value, end = self._decode_start(text)
                if end == len(
                    text
                ):  # nothing around the value: what dumps() writes, read in half the time
                    return value
            except ValueError:
                pass
            return self._decode(text)
        except (ValueError, RecursionError) as error:
            _corrupt(self, data, error)


class _Pickle(_Codec):
    def dumps(self, value: Any, /) -> bytes:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes, /) -> Any:
        try:
            return pickle.loads(data)
        except Exception as error:  # a pickle may raise anything: here a module may be missing
            _corrupt(self, data, f"{type(error).__name__}: {error}")


@functools.lru_cache(maxsize=256)
def _npy_header(dtype: numpy.dtype[Any], shape: tuple[int, ...], fortran: bool) -> bytes:
    import numpy

    header = io.BytesIO()
    fields = {
        "descr": numpy.lib.format.dtype_to_descr(dtype),
        "fortran_order": fortran,
        "shape": shape,
    }
    numpy.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


@functools.lru_cache(maxsize=256)
def _parse_npy_header(header: bytes) -> tuple[tuple[int, ...], bool, numpy.dtype[Any]]:
    import numpy

    file = io.BytesIO(header)
    version = numpy.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version} of the .npy format")
    shape, fortran, dtype = numpy.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    if any(length < 0 for length in shape):
        raise ValueError(f"the shape {shape}")
    return shape, fortran, dtype


class _Numpy(_Codec):
    def dumps(self, value: Any, /) -> bytearray:
        import numpy

        if isinstance(value, numpy.ma.MaskedArray) or not isinstance(
            value, (numpy.ndarray, numpy.generic)
        ):
            raise TypeError(
                f"codecs.NUMPY stores numpy arrays and scalars, not {type(value).__name__}; "
                "convert it with numpy.asarray"
            )
        array = numpy.asarray(value)
        if array.dtype.hasobject:
            raise TypeError(
                f"codecs.NUMPY stores no arrays of Python objects (dtype {array.dtype}); convert "
                "it to a dtype of numbers or fixed-length strings"
            )
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        header = _npy_header(array.dtype, array.shape, fortran)
        stored = bytearray(len(header) + array.nbytes)
        stored[: len(header)] = header
        # The one copy of the elements, whatever their layout is.
        numpy.ndarray(array.shape, array.dtype, stored, len(header), order="F" if fortran else "C")[
            ...
        ] = array
        return stored

    def loads(self, data: bytes, /) -> numpy.ndarray[Any, Any]:
        import numpy

        try:
            if data[:6] != b"\x93NUMPY":
                raise ValueError("it does not begin as the .npy format does")
            size = 10 + int.from_bytes(data[8:10], "little")
            shape, fortran, dtype = _parse_npy_header(data[:size])
            elements = 1
            for length in shape:
                elements *= length
            if len(data) != size + elements * dtype.itemsize:
                raise ValueError(
                    f"{len(data) - size} bytes of elements for dtype {dtype} and shape {shape}"
                )
            return numpy.ndarray(shape, dtype, data, size, order="F" if fortran else "C")
        except (
            Exception
        ) as error:  # the parser of the header raises whatever ast.literal_eval and numpy.dtype do
            _corrupt(self, data, error)


BYTES: Final = _Bytes("BYTES")
STR: Final = _Str("STR")
JSON: Final = _Json("JSON")
NUMPY: Final = _Numpy("NUMPY")
PICKLE: Final = _Pickle("PICKLE")
