"""What an image says about itself beside its pixels: when and where it was taken, by which camera, how large it is.

Only the header is read. EXIF 3.0 (CIPA DC-008) defines the tags. What is damaged or impossible counts as absent: a
month 13, a year before the first photo, a latitude of 91°, and the point 0°, 0° that receivers without a fix write.
Videos and RAW files are not read.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mobileclip_kit.errors import ImageError

# Before the first photo, and after any that is taken now, a clock is wrong.
_YEARS = range(1826, 2101)
_EPOCH = datetime(1970, 1, 1)
_MAX_ZONE_MINUTES = 14 * 60
_MAX_CAMERA = 100

# IFDs, and tags in them.
_EXIF, _GPS = 0x8769, 0x8825
_MAKE, _MODEL, _ORIENTATION = 0x010F, 0x0110, 0x0112
# Time, its zone and its fraction of a second: of the exposure, of the digital image, of the last change. The last
# time lies in the first IFD.
_TIMES = ((0x9003, 0x9011, 0x9291), (0x9004, 0x9012, 0x9292), (0x0132, 0x9010, 0x9290))
_LATITUDE, _LONGITUDE = (1, 2, "NS", 90.0), (3, 4, "EW", 180.0)

_TIME = re.compile(r"(\d{4})[:\-/.](\d\d)[:\-/.](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_ZONE = re.compile(r"([+-])(\d\d):?(\d\d)")


@dataclass(frozen=True, kw_only=True)
class PhotoFacts:
    """Facts about an image, each None where it is not known.

    Attributes:
        width: In pixels, upright.
        height: In pixels, upright.
        taken_us: When it was taken, in microseconds since 1970 by the camera's own clock: the local time there.
        zone_minutes: That clock's offset from UTC.
        latitude: In degrees, positive in the north.
        longitude: In degrees, positive in the east.
        camera: Make and model.
        phash: The perceptual hash, 64 bits as a signed number; see :mod:`mobileclip_kit.phash`.
    """

    width: int | None = None
    height: int | None = None
    taken_us: int | None = None
    zone_minutes: int | None = None
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None
    phash: int | None = None

    @property
    def taken(self) -> datetime | None:
        """The local time of the exposure, without a zone."""
        return None if self.taken_us is None else _EPOCH + timedelta(microseconds=self.taken_us)


def local_us(moment: datetime) -> int:
    """A local time without a zone as microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def read_facts(source: Path | bytes) -> PhotoFacts | None:
    """The facts in an image's header; None where the header cannot be read.

    Args:
        source: A file, or its bytes.
    """
    from mobileclip_kit.images import read_header  # Pillow: not needed to open an index

    try:
        size, exif = read_header(source, (_EXIF, _GPS))
    except ImageError:
        return None
    first, inner, gps = exif.get(0, {}), exif.get(_EXIF, {}), exif.get(_GPS, {})
    width, height = reversed(size) if first.get(_ORIENTATION) in (5, 6, 7, 8) else size
    taken_us, zone_minutes = _time_of({**first, **inner})
    latitude, longitude = _degrees(gps, *_LATITUDE), _degrees(gps, *_LONGITUDE)
    if latitude is None or longitude is None or latitude == longitude == 0.0:
        latitude = longitude = None
    return PhotoFacts(
        width=width,
        height=height,
        taken_us=taken_us,
        zone_minutes=zone_minutes,
        latitude=latitude,
        longitude=longitude,
        camera=_camera(_text(first.get(_MAKE)), _text(first.get(_MODEL))),
    )


def _time_of(tags: Mapping[int, Any]) -> tuple[int | None, int | None]:
    """The first time that is one, and its zone."""
    for time_tag, zone_tag, fraction_tag in _TIMES:
        found = _TIME.match(_text(tags.get(time_tag)))
        if found is None:
            continue
        try:
            moment = datetime(*map(int, found.groups()))  # type: ignore[arg-type]
        except ValueError:  # 0000:00:00, a month 13, or a second 60
            continue
        if moment.year in _YEARS:
            digits = _text(tags.get(fraction_tag))[:6]
            fraction = int(digits.ljust(6, "0")) if digits.isascii() and digits.isdigit() else 0
            return local_us(moment) + fraction, _zone(_text(tags.get(zone_tag)))
    return None, None


def _zone(text: str) -> int | None:
    if text == "Z":
        return 0
    found = _ZONE.fullmatch(text)
    if found is None:
        return None
    minutes = 60 * int(found.group(2)) + int(found.group(3))
    if minutes > _MAX_ZONE_MINUTES or int(found.group(3)) > 59:
        return None
    return -minutes if found.group(1) == "-" else minutes


def _degrees(gps: Mapping[int, Any], sign_tag: int, tag: int, signs: str, limit: float) -> float | None:
    """Degrees, minutes and seconds as degrees."""
    sign = _text(gps.get(sign_tag)).upper()[:1]
    try:
        degrees, minutes, seconds = (float(part) for part in gps.get(tag, ()))
    except (TypeError, ValueError, ArithmeticError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    fits = math.isfinite(value) and degrees >= 0 and 0 <= minutes < 60 and 0 <= seconds < 60 and value <= limit
    if not sign or sign not in signs or not fits:
        return None
    return round(-value if sign == signs[1] else value, 6)  # 11 cm


@functools.lru_cache(256)
def _camera(make: str, model: str) -> str | None:
    """Make and model, where the model does not begin with the make anyhow: "Canon" and "Canon EOS 5D"."""
    first = make.split(" ")[0].casefold()
    both = model if first and model.casefold().startswith(first) else f"{make} {model}"
    return both.strip()[:_MAX_CAMERA] or None


def _text(value: Any) -> str:
    """The printable part of a text tag; empty where the value is none."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        return ""
    return "".join(each for each in value.split("\0")[0] if each.isprintable()).strip()
