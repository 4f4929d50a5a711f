"""Drawings of plants, animals and the sky, each in the unit square (see ``pen``)."""

from __future__ import annotations

import math

from mobileclip_kit.scenes.pen import ACCENT, DARK, LIGHT, MAIN, SHADE, TINT, Pen, arc_points


def star(pen: Pen) -> None:
    """Five points."""
    turns = [(0.5 if step % 2 == 0 else 0.22, math.radians(step * 36 - 90)) for step in range(10)]
    pen.polygon(MAIN, *[(0.5 + radius * math.cos(turn), 0.52 + radius * math.sin(turn)) for radius, turn in turns])


def heart(pen: Pen) -> None:
    """Two lobes and a point, with a highlight."""
    angles = [step * math.tau / 80 for step in range(80)]
    curve = [
        (16 * math.sin(t) ** 3, 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
        for t in angles
    ]
    pen.polygon(MAIN, *[(0.5 + x / 34, 0.45 - y / 34) for x, y in curve])
    pen.oval(TINT, 0.28, 0.3, 0.08, 0.05, turn=-40)


def sun(pen: Pen) -> None:
    """A disc and twelve separate rays."""
    for step in range(12):
        turn = step * math.tau / 12
        cos, sin = math.cos(turn), math.sin(turn)
        tip = (0.5 + 0.5 * cos, 0.5 + 0.5 * sin)
        foot = (0.5 + 0.35 * cos, 0.5 + 0.35 * sin)
        pen.polygon(
            MAIN, tip, (foot[0] - 0.07 * sin, foot[1] + 0.07 * cos), (foot[0] + 0.07 * sin, foot[1] - 0.07 * cos)
        )
    pen.oval(MAIN, 0.5, 0.5, 0.28)
    pen.oval(DARK, 0.41, 0.45, 0.03)
    pen.oval(DARK, 0.59, 0.45, 0.03)
    pen.arc(DARK, 0.03, 0.5, 0.5, 0.14, 30, 150)


def moon(pen: Pen) -> None:
    """A crescent."""
    outer = arc_points(0.5, 0.5, 0.5, 50, 310)
    inner = arc_points(0.68, 0.5, 0.41, 291, 69)
    pen.polygon(MAIN, *outer, *inner)


def cloud(pen: Pen) -> None:
    """Round heaps on a flat foot."""
    pen.box(MAIN, 0.0, 0.5, 1.0, 0.8, radius=0.15)
    pen.oval(MAIN, 0.27, 0.5, 0.19)
    pen.oval(MAIN, 0.52, 0.38, 0.25)
    pen.oval(MAIN, 0.77, 0.53, 0.17)
    pen.arc(SHADE, 0.03, 0.52, 0.4, 0.16, 190, 290)


def tree(pen: Pen) -> None:
    """A round crown on a trunk."""
    pen.polygon(ACCENT, (0.43, 0.6), (0.57, 0.6), (0.62, 1.0), (0.38, 1.0))
    for x, y, radius in ((0.5, 0.24, 0.24), (0.27, 0.42, 0.22), (0.73, 0.42, 0.22), (0.5, 0.5, 0.22)):
        pen.oval(MAIN, x, y, radius)
    pen.arc(SHADE, 0.03, 0.5, 0.42, 0.15, 20, 120)
    pen.arc(SHADE, 0.03, 0.35, 0.3, 0.12, 170, 260)


def flower(pen: Pen) -> None:
    """Six petals around a heart, on a stem with leaves."""
    pen.line(ACCENT, 0.06, (0.5, 0.4), (0.5, 1.0))
    pen.oval(ACCENT, 0.36, 0.82, 0.15, 0.06, turn=35)
    pen.oval(ACCENT, 0.64, 0.76, 0.15, 0.06, turn=-35)
    for step in range(6):
        turn = math.radians(step * 60 + 30)
        pen.oval(DARK, 0.5 + 0.19 * math.cos(turn), 0.32 + 0.19 * math.sin(turn), 0.15, 0.125, turn=step * 60 + 30)
        pen.oval(MAIN, 0.5 + 0.19 * math.cos(turn), 0.32 + 0.19 * math.sin(turn), 0.135, 0.11, turn=step * 60 + 30)
    pen.oval(LIGHT, 0.5, 0.32, 0.1)


def leaf(pen: Pen) -> None:
    """A pointed oval with a midrib and veins, on a stalk."""
    edge = [(0.38 * math.sin(math.pi * (step / 24) ** 1.3), 0.86 * step / 24) for step in range(25)]
    pen.line(SHADE, 0.06, (0.5, 0.75), (0.54, 1.0))
    pen.polygon(MAIN, *[(0.5 + x, y) for x, y in edge], *[(0.5 - x, y) for x, y in reversed(edge)])
    pen.line(DARK, 0.03, (0.5, 0.1), (0.5, 0.85))
    for y in (0.3, 0.47, 0.64):
        pen.line(DARK, 0.022, (0.5, y + 0.06), (0.34, y - 0.05))
        pen.line(DARK, 0.022, (0.5, y + 0.06), (0.66, y - 0.05))


def apple(pen: Pen) -> None:
    """Two lobes, a stalk and a leaf."""
    pen.blob(MAIN, (0.5, 0.3), (0.7, 0.24), (0.9, 0.36), (0.94, 0.6), (0.8, 0.88), (0.62, 0.98), (0.5, 0.95),
             (0.38, 0.98), (0.2, 0.88), (0.06, 0.6), (0.1, 0.36), (0.3, 0.24))  # fmt: skip
    pen.line(DARK, 0.05, (0.5, 0.34), (0.53, 0.1))
    pen.oval(ACCENT, 0.69, 0.1, 0.17, 0.08, turn=-20)
    pen.oval(TINT, 0.27, 0.46, 0.1, 0.06, turn=-55)


def banana(pen: Pen) -> None:
    """A thick curve with a stalk and a dark tip."""
    upper = arc_points(0.62, 0.12, 0.52, 172, 68)
    lower = arc_points(0.5, 0.08, 0.76, 70, 158)
    tip = arc_points(0.78, 0.7, 0.09, 80, -60)
    pen.polygon(MAIN, (0.02, 0.12), (0.1, 0.1), *upper, *reversed(tip), *lower)
    pen.line(SHADE, 0.03, *arc_points(0.56, 0.1, 0.63, 165, 75))
    pen.line(DARK, 0.08, (0.04, 0.02), (0.05, 0.14))
    pen.oval(DARK, 0.84, 0.71, 0.05)


def mushroom(pen: Pen) -> None:
    """A spotted cap on a pale stalk."""
    pen.blob(ACCENT, (0.4, 0.5), (0.6, 0.5), (0.61, 0.75), (0.68, 0.97), (0.5, 1.0), (0.32, 0.97), (0.39, 0.75))
    pen.polygon(MAIN, *arc_points(0.5, 0.54, 0.5, 180, 360), (0.97, 0.62), (0.5, 0.66), (0.03, 0.62))
    for x, y, radius in ((0.5, 0.2, 0.09), (0.24, 0.38, 0.08), (0.76, 0.38, 0.08), (0.5, 0.46, 0.07)):
        pen.oval(LIGHT, x, y, radius)


def fish(pen: Pen) -> None:
    """A side view swimming left."""
    pen.polygon(SHADE, (0.68, 0.5), (1.0, 0.2), (0.93, 0.5), (1.0, 0.8))
    pen.polygon(SHADE, (0.3, 0.32), (0.5, 0.1), (0.64, 0.36))
    pen.oval(MAIN, 0.4, 0.5, 0.4, 0.26)
    pen.polygon(SHADE, (0.42, 0.52), (0.6, 0.46), (0.58, 0.66))
    pen.arc(DARK, 0.025, 0.12, 0.5, 0.2, -50, 50)
    pen.oval(LIGHT, 0.16, 0.44, 0.065)
    pen.oval(DARK, 0.15, 0.44, 0.035)


def bird(pen: Pen) -> None:
    """A songbird standing, looking left."""
    pen.line(DARK, 0.03, (0.46, 0.74), (0.44, 0.98), (0.36, 0.98))
    pen.line(DARK, 0.03, (0.57, 0.74), (0.57, 0.98), (0.49, 0.98))
    pen.polygon(SHADE, (0.68, 0.46), (1.0, 0.3), (0.98, 0.46), (0.76, 0.66))
    pen.polygon(ACCENT, (0.0, 0.3), (0.17, 0.2), (0.17, 0.36))
    pen.oval(MAIN, 0.52, 0.54, 0.3, 0.23, turn=-12)
    pen.oval(MAIN, 0.29, 0.29, 0.18)
    pen.blob(SHADE, (0.42, 0.46), (0.62, 0.4), (0.88, 0.46), (0.7, 0.64), (0.5, 0.64))
    pen.oval(LIGHT, 0.25, 0.25, 0.05)
    pen.oval(DARK, 0.24, 0.25, 0.03)


def cat(pen: Pen) -> None:
    """A face with pointed ears and whiskers."""
    for side in (-1, 1):
        pen.polygon(MAIN, (0.5 + side * 0.43, 0.02), (0.5 + side * 0.06, 0.26), (0.5 + side * 0.44, 0.5))
        pen.polygon(ACCENT, (0.5 + side * 0.38, 0.13), (0.5 + side * 0.18, 0.26), (0.5 + side * 0.37, 0.38))
    pen.oval(MAIN, 0.5, 0.57, 0.45, 0.37)
    for side in (-1, 1):
        pen.oval(LIGHT, 0.5 + side * 0.2, 0.5, 0.09, 0.1)
        pen.oval(DARK, 0.5 + side * 0.2, 0.5, 0.035, 0.085)
        for drop in (-0.05, 0.06):
            pen.line(DARK, 0.022, (0.5 + side * 0.17, 0.69 + drop / 3), (0.5 + side * 0.52, 0.67 + drop))
    pen.polygon(ACCENT, (0.44, 0.63), (0.56, 0.63), (0.5, 0.7))
    pen.arc(DARK, 0.025, 0.44, 0.7, 0.06, 10, 150)
    pen.arc(DARK, 0.025, 0.56, 0.7, 0.06, 30, 170)


def dog(pen: Pen) -> None:
    """A face with hanging ears, a muzzle and a tongue."""
    pen.blob(
        MAIN, (0.5, 0.04), (0.74, 0.12), (0.82, 0.4), (0.74, 0.74), (0.5, 0.92), (0.26, 0.74), (0.18, 0.4), (0.26, 0.12)
    )
    for side in (-1, 1):
        pen.blob(SHADE, (0.5 + side * 0.2, 0.07), (0.5 + side * 0.4, 0.14), (0.5 + side * 0.5, 0.45),
                 (0.5 + side * 0.42, 0.66), (0.5 + side * 0.32, 0.55), (0.5 + side * 0.28, 0.3))  # fmt: skip
        pen.oval(LIGHT, 0.5 + side * 0.14, 0.38, 0.07)
        pen.oval(DARK, 0.5 + side * 0.13, 0.39, 0.045)
    pen.blob(ACCENT, (0.43, 0.8), (0.57, 0.8), (0.57, 0.95), (0.5, 1.0), (0.43, 0.95))
    pen.oval(TINT, 0.5, 0.69, 0.22, 0.16)
    pen.oval(DARK, 0.5, 0.6, 0.11, 0.075)
    pen.line(DARK, 0.03, (0.5, 0.66), (0.5, 0.76))
    pen.arc(DARK, 0.03, 0.5, 0.66, 0.13, 40, 140)


def snail(pen: Pen) -> None:
    """A spiral shell on a soft body, going left."""
    pen.line(ACCENT, 0.04, (0.14, 0.6), (0.05, 0.3))
    pen.line(ACCENT, 0.04, (0.2, 0.6), (0.24, 0.3))
    pen.oval(ACCENT, 0.05, 0.28, 0.045)
    pen.oval(ACCENT, 0.24, 0.28, 0.045)
    pen.blob(ACCENT, (0.04, 0.66), (0.14, 0.54), (0.26, 0.64), (0.36, 0.8), (0.8, 0.82), (1.0, 0.93), (0.9, 0.97),
             (0.4, 0.97), (0.14, 0.9))  # fmt: skip
    pen.oval(MAIN, 0.6, 0.5, 0.36)
    spiral = [(0.29 - 0.27 * step / 60, math.radians(step * 14 + 60)) for step in range(61)]
    pen.line(DARK, 0.04, *[(0.6 + radius * math.cos(turn), 0.5 + radius * math.sin(turn)) for radius, turn in spiral])
