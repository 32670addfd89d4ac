"""hostmap.codecs: what each codec stores and reads, and what it refuses."""

from __future__ import annotations

import pickle
from typing import Any

import numpy
import pytest
from hostmap import Map, codecs

NAMES = ["BYTES", "STR", "JSON", "NUMPY", "PICKLE"]


def roundtrip(codec: Any, value: Any) -> Any:
    return codec.loads(bytes(codec.dumps(value)))


@pytest.mark.parametrize("value", [b"", b"\0\xff", bytearray(b"ab"), memoryview(b"abc")])
def test_bytes_are_stored_as_they_are(value: Any) -> None:
    assert roundtrip(codecs.BYTES, value) == bytes(value)


@pytest.mark.parametrize("value", ["", "text", "Größe", "\0", "🎉"])
def test_str_is_stored_as_utf_8(value: str) -> None:
    assert codecs.STR.dumps(value) == value.encode()
    assert roundtrip(codecs.STR, value) == value


@pytest.mark.parametrize(
    "value", [None, True, 0, -1, 2**70, 1.5, "Größe", [], [1, [2]], {}, {"a": {"b": [None]}}]
)
def test_json_reads_what_it_stored(value: Any) -> None:
    assert roundtrip(codecs.JSON, value) == value


def test_json_is_compact_and_reads_json_of_other_programs() -> None:
    assert codecs.JSON.dumps({"a": [1, "ö"]}) == '{"a":[1,"ö"]}'.encode()
    assert codecs.JSON.loads(b' {"a" : 1}\n') == {"a": 1}
    assert codecs.JSON.loads(b"[1] ") == [1]


@pytest.mark.parametrize(
    "array",
    [
        numpy.arange(6.0).reshape(2, 3),
        numpy.arange(6).reshape(2, 3).T,
        numpy.arange(10)[::3],
        numpy.array(3),
        numpy.zeros((0, 3)),
        numpy.array(["a", "bcd"]),
        numpy.array([1, 2], "M8[ns]"),
        numpy.array([1], ">i2"),
        numpy.array([True]),
        numpy.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
        numpy.float32(2.5),
        numpy.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_numpy_keeps_dtype_shape_and_elements(array: Any) -> None:
    read = roundtrip(codecs.NUMPY, array)
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    assert (read == array).all()
    assert not read.flags.writeable  # its elements are the bytes that were read


def test_numpy_values_are_npy_files(tmp_path: Any) -> None:
    array = numpy.arange(6, dtype="f4").reshape(2, 3)
    file = tmp_path / "array.npy"
    file.write_bytes(codecs.NUMPY.dumps(array))
    assert (numpy.load(file) == array).all()
    numpy.save(file, array.T)
    assert (codecs.NUMPY.loads(file.read_bytes()) == array.T).all()


def test_pickle_reads_what_it_stored() -> None:
    assert roundtrip(codecs.PICKLE, {1: {2, 3}, None: (4,)}) == {1: {2, 3}, None: (4,)}


@pytest.mark.parametrize(
    ("codec", "value", "message"),
    [
        (codecs.BYTES, "text", "stores bytes, bytearray or memoryview, not str"),
        (codecs.STR, b"bytes", "stores str, not bytes"),
        (codecs.JSON, {1, 2}, "set is not JSON serializable"),
        (
            codecs.NUMPY,
            [1, 2],
            "stores numpy arrays and scalars, not list; convert it with numpy.asarray",
        ),
        (codecs.NUMPY, numpy.array([None]), "stores no arrays of Python objects"),
        (
            codecs.NUMPY,
            numpy.array([(None, 1)], [("a", "O"), ("b", "i4")]),
            "stores no arrays of Python objects",
        ),
        (codecs.NUMPY, numpy.ma.array([1, 2], mask=[0, 1]), "not MaskedArray"),
    ],
)
def test_a_value_that_a_codec_cannot_store_is_a_type_error(
    codec: Any, value: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        codec.dumps(value)


def test_json_refuses_numbers_that_json_lacks() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        codecs.JSON.dumps(float("nan"))


ARRAY = bytes(codecs.NUMPY.dumps(numpy.arange(4, dtype="i2")))
OBJECTS = ARRAY.replace(b"'<i2'", b"'|O' ")


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (codecs.STR, b"\xff"),
        (codecs.JSON, b""),
        (codecs.JSON, b"{"),
        (codecs.JSON, b"1 2"),
        (codecs.JSON, b"\xff"),
        (codecs.JSON, b"[" * 100_000),
        (codecs.PICKLE, b""),
        (codecs.PICKLE, b"text"),
        (codecs.PICKLE, b"cno_such_module\nname\n."),
        (codecs.NUMPY, b""),
        (codecs.NUMPY, b"text"),
        (codecs.NUMPY, ARRAY[:-1]),
        (codecs.NUMPY, ARRAY + b"\0"),
        (codecs.NUMPY, ARRAY[:20]),
        (codecs.NUMPY, OBJECTS),
        (codecs.NUMPY, ARRAY.replace(b"(4,)", b"(-4,)")),
        (codecs.NUMPY, ARRAY.replace(b"'<i2'", b"'<q9'")),
        (codecs.NUMPY, ARRAY.replace(b"\x01\x00v", b"\x07\x00v")),
    ],
)
def test_a_corrupt_value_is_an_error_that_says_what_to_do(codec: Any, data: bytes) -> None:
    with pytest.raises(
        codecs.CorruptValue,
        match=r"are not a value of hostmap\.codecs\.\w+: .*Read the key with the codec",
    ):
        codec.loads(data)


def test_no_cut_or_changed_byte_of_an_array_is_anything_but_an_array_or_a_corrupt_value() -> None:
    for position in range(len(ARRAY)):
        for changed in (ARRAY[:position], ARRAY[:position] + b"\xff" + ARRAY[position + 1 :]):
            try:
                assert isinstance(codecs.NUMPY.loads(changed), numpy.ndarray)
            except codecs.CorruptValue:
                pass


@pytest.mark.parametrize("name", NAMES)
def test_codecs_pickle_and_print_by_their_names(name: str) -> None:
    codec = getattr(codecs, name)
    assert pickle.loads(pickle.dumps(codec)) is codec
    assert repr(codec) == f"hostmap.codecs.{name}"


@pytest.mark.parametrize(
    ("name", "value"), [("BYTES", b"1"), ("STR", "ä"), ("JSON", {"a": [1]}), ("PICKLE", {1, 2})]
)
def test_a_map_stores_and_reads_by_its_codec(server: Any, name: str, value: Any) -> None:
    with server.connect(codec=getattr(codecs, name)) as m:
        m["key"] = value
        assert m["key"] == value
        assert m.get_many(["key", "absent"]) == {"key": value}
        assert m.pop("key") == value


def test_a_map_of_arrays(server: Any) -> None:
    with server.connect(codec=codecs.NUMPY) as m:
        array = numpy.arange(1000.0)
        m["array"] = array
        assert (m["array"] == array).all()


def test_a_value_that_another_codec_wrote_is_corrupt_and_stays(server: Any) -> None:
    with server.connect() as plain, server.connect(codec=codecs.JSON) as m:
        plain["key"] = b"not json"
        with pytest.raises(codecs.CorruptValue):
            m["key"]
        assert plain["key"] == b"not json"


def test_a_value_that_the_codec_refuses_changes_nothing(server: Any) -> None:
    m: Map[str, Any]
    with server.connect(codec=codecs.JSON) as m:
        m["key"] = 1
        with pytest.raises(TypeError):
            m["key"] = {1}
        assert m["key"] == 1
