"""Draw the app's icon: a row of photos, and a magnifying glass that has found one of them.

``python ios_demo/draw_icon.py`` writes the three images of the asset catalogue: light, dark and tinted (grey: the
system adds the colour).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

FOLDER = Path(__file__).parent / "MobileCLIPDemo" / "Assets.xcassets" / "AppIcon.appiconset"
SIDE = 1024
# Drawn larger and reduced: Pillow's shapes have no smooth edges of their own.
SCALE = 3

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """The colours of one appearance."""

    name: str
    top: Colour
    bottom: Colour
    card: Colour
    sky: Colour
    sun: Colour
    far_hill: Colour
    near_hill: Colour
    rim: Colour


LOOKS = (
    Look("light", (72, 130, 246), (44, 66, 190), (236, 242, 255), (189, 226, 255), (255, 196, 61), (104, 186, 150),
         (48, 132, 110), (255, 255, 255)),
    Look("dark", (30, 38, 66), (12, 15, 30), (58, 72, 112), (56, 96, 150), (255, 190, 70), (58, 128, 108),
         (30, 88, 78), (222, 230, 250)),
    Look("tinted", (34, 34, 34), (10, 10, 10), (84, 84, 84), (122, 122, 122), (250, 250, 250), (96, 96, 96),
         (60, 60, 60), (240, 240, 240)),
)  # fmt: skip


def main() -> None:
    """Write the images."""
    for look in LOOKS:
        draw_icon(look).save(FOLDER / f"{look.name}.png", optimize=True)


def draw_icon(look: Look) -> Image.Image:
    """One appearance, ``SIDE`` pixels wide, without transparency."""
    size = SIDE * SCALE
    icon = _gradient(size, look.top, look.bottom)
    canvas = ImageDraw.Draw(icon)
    for column in range(3):
        for row in range(3):
            left, top = (150 + 252 * column) * SCALE, (150 + 252 * row) * SCALE
            box = (left, top, left + 220 * SCALE, top + 220 * SCALE)
            canvas.rounded_rectangle(box, 44 * SCALE, fill=_mix(look.card, look.bottom, 0.30 + 0.10 * (column + row)))
    _draw_glass(icon, look)
    return icon.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _draw_glass(icon: Image.Image, look: Look) -> None:
    centre, radius, rim = 450 * SCALE, 262 * SCALE, 52 * SCALE
    handle = [(637 * SCALE, 637 * SCALE), (838 * SCALE, 838 * SCALE)]
    shadow = Image.new("L", icon.size, 0)
    pen = ImageDraw.Draw(shadow)
    down = 18 * SCALE
    _draw_line(pen, [(x, y + down) for x, y in handle], 104 * SCALE, 150)
    pen.ellipse(_circle(centre, centre + down, radius + rim), fill=150)
    icon.paste(_mix(look.bottom, (0, 0, 0), 0.6), (0, 0), shadow.filter(ImageFilter.GaussianBlur(22 * SCALE)))
    canvas = ImageDraw.Draw(icon)
    _draw_line(canvas, handle, 104 * SCALE, look.rim)
    canvas.ellipse(_circle(centre, centre, radius + rim), fill=look.rim)
    lens = Image.new("L", icon.size, 0)
    ImageDraw.Draw(lens).ellipse(_circle(centre, centre, radius), fill=255)
    icon.paste(_found_photo(icon.size, look, centre, radius), (0, 0), lens)


def _found_photo(size: tuple[int, int], look: Look, centre: int, radius: int) -> Image.Image:
    """A sun over two hills, as large as the lens."""
    photo = Image.new("RGB", size, look.sky)
    canvas = ImageDraw.Draw(photo)
    canvas.ellipse(_circle(centre + radius * 38 // 100, centre - radius * 36 // 100, radius * 25 // 100), fill=look.sun)
    low = centre + radius
    for peak, height, width, colour in ((0.34, 0.02, 1.15, look.far_hill), (-0.30, -0.12, 1.05, look.near_hill)):
        x, y = centre + int(peak * radius), centre + int(height * radius)
        half = int(width * radius)
        canvas.polygon([(x - half, low), (x, y), (x + half, low)], fill=colour)
    return photo


def _draw_line(canvas: ImageDraw.ImageDraw, points: list[tuple[int, int]], width: int, fill: Colour | int) -> None:
    """A line with round ends."""
    canvas.line(points, fill=fill, width=width)
    for x, y in points:
        canvas.ellipse(_circle(x, y, width // 2), fill=fill)


def _circle(x: int, y: int, radius: int) -> tuple[int, int, int, int]:
    return (x - radius, y - radius, x + radius, y + radius)


def _gradient(size: int, top: Colour, bottom: Colour) -> Image.Image:
    column = Image.new("RGB", (1, size))
    for y in range(size):
        column.putpixel((0, y), _mix(top, bottom, y / (size - 1)))
    return column.resize((size, size))


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


if __name__ == "__main__":
    main()
