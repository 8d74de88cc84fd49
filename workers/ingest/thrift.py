"""Thrift's compact protocol, as far as the footers of Parquet files need it.

A structure is {field's id: (type, value)}, a list (type of its elements, [values]); texts are bytes. What is read is
written again as it was, also fields that nobody here knows.
Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any, Final

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
INT32: Final = _I32
INT64: Final = _I64
BINARY: Final = _BINARY
STRUCT: Final = _STRUCT
_INTEGERS: Final = (_I16, _I32, _I64)
# In fields' heads: how many ids further than the field before; in lists' heads: how many elements.
_LONG_LIST: Final = 15

Struct = dict[int, tuple[int, Any]]


class Reader:
    """Reads one structure of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self) -> Struct:
        """The next structure. Raises ValueError for maps, which Parquet has none of."""
        fields: Struct = {}
        number = 0
        while head := self._byte():
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = (kind, kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind))
        return fields

    def _value(self, kind: int) -> Any:
        if kind in _INTEGERS:
            return self._integer()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            head = self._byte()
            size = self._varint() if head >> 4 == _LONG_LIST else head >> 4
            return head & 15, [self._value(head & 15) for _ in range(size)]
        if kind in (_BYTE, _TRUE, _FALSE):
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise ValueError(f"a value of type {kind}")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)


def dumps(struct: Struct) -> bytes:
    """The bytes of a structure."""
    out = bytearray()
    last = 0
    for number, (kind, value) in sorted(struct.items()):
        if kind in (_TRUE, _FALSE):
            kind = _TRUE if value else _FALSE
        if 0 < number - last < 16:
            out.append(number - last << 4 | kind)
        else:
            out.append(kind)
            out += _integer(number)
        if kind not in (_TRUE, _FALSE):
            out += _value(kind, value)
        last = number
    out.append(0)
    return bytes(out)


def _value(kind: int, value: Any) -> bytes:
    if kind in _INTEGERS:
        return _integer(value)
    if kind == _BINARY:
        return b"".join((_varint(len(value)), value))
    if kind == _STRUCT:
        return dumps(value)
    if kind in (_LIST, _SET):
        element, values = value
        head = bytes([len(values) << 4 | element]) if len(values) < _LONG_LIST else bytes([0xF0 | element])
        size = b"" if len(values) < _LONG_LIST else _varint(len(values))
        return head + size + b"".join(_value(element, one) for one in values)
    packed: bytes = value if kind == _DOUBLE else bytes([value])
    return packed


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _integer(value: int) -> bytes:
    return _varint(value << 1 ^ value >> 63)
