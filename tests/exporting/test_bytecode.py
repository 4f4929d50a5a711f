"""Names of constants in MLIR bytecode: numbered, and nothing else is changed."""

from __future__ import annotations

import pytest

from mobileclip_kit.exporting.bytecode import _number, _read_number, number_resources


def program(*names: bytes, last: bytes = b"\x11\x05ab") -> bytes:
    """A header, an aligned section, the strings and a last section; small numbers are one byte, twice and one."""
    texts = [b"main\0", *(name + b"\0" for name in names), b"value\0"]
    lengths = bytes(2 * len(text) + 1 for text in reversed(texts))
    strings = bytes([2 * len(texts) + 1]) + lengths + b"".join(texts)
    header = b"ML\xefR\x0dMLIR\0"  # 10 bytes; those of the section's head end at 13
    aligned = b"\x85\x09\x11\xcb\xcb\xcbdata"  # to 16
    return header + aligned + b"\0" + _number(len(strings)) + strings + last


def test_constants_are_numbered_in_the_order_of_their_names_places():
    one = program(b"resource_18446744073709551615", b"resource_5_1", b"resource_of_others")
    other = program(b"resource_77", b"resource_12345678901234567890", b"resource_of_others")
    wanted = program(b"resource_0", b"resource_1", b"resource_of_others")
    assert number_resources(one) == number_resources(other) == number_resources(wanted) == wanted


def test_another_form_is_refused():
    with pytest.raises(ValueError, match="no MLIR bytecode"):
        number_resources(b"TFL3")
    with pytest.raises(ValueError, match="an aligned section follows the strings"):
        number_resources(program(b"resource_1", last=b"\x85\x05\x03ab"))


@pytest.mark.parametrize("value", [0, 127, 128, 2**14 - 1, 2**14, 2**49, 2**56 - 1, 2**56, 2**63])
def test_numbers_of_any_size_are_read_back(value: int):
    written = _number(value)
    assert _read_number(b"x" + written + b"x", 1) == (value, 1 + len(written))
