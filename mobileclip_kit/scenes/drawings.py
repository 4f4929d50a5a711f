"""Drawings of every kind of thing, each in the unit square (see :class:`mobileclip_kit.scenes.sprites.Pen`)."""

from __future__ import annotations

import math

from mobileclip_kit.scenes.sprites import ACCENT, CLEAR, DARK, LIGHT, MAIN, SHADE, TINT, Pen, arc_points


def house(pen: Pen) -> None:
    """A gable, a door, two windows and a chimney."""
    pen.box(SHADE, 0.7, 0.08, 0.83, 0.4)
    pen.box(MAIN, 0.12, 0.42, 0.88, 1.0)
    pen.polygon(SHADE, (0.0, 0.48), (0.5, 0.02), (1.0, 0.48))
    pen.box(DARK, 0.41, 0.64, 0.59, 1.0)
    pen.box(LIGHT, 0.19, 0.58, 0.34, 0.75)
    pen.box(LIGHT, 0.66, 0.58, 0.81, 0.75)


def tent(pen: Pen) -> None:
    """A ridge tent with an open flap."""
    pen.line(DARK, 0.03, (0.47, 0.18), (0.54, 0.06))
    pen.line(DARK, 0.03, (0.53, 0.18), (0.46, 0.06))
    pen.polygon(MAIN, (0.5, 0.14), (1.0, 0.92), (0.0, 0.92))
    pen.polygon(DARK, (0.5, 0.4), (0.68, 0.92), (0.32, 0.92))
    pen.polygon(TINT, (0.5, 0.4), (0.32, 0.92), (0.22, 0.92), (0.4, 0.62))
    pen.polygon(TINT, (0.5, 0.4), (0.68, 0.92), (0.78, 0.92), (0.6, 0.62))


def umbrella(pen: Pen) -> None:
    """An open canopy with three scallops and a crook."""
    pen.line(ACCENT, 0.05, (0.5, 0.04), (0.5, 0.86))
    pen.arc(ACCENT, 0.05, 0.59, 0.87, 0.09, 180, 0)
    pen.polygon(MAIN, *arc_points(0.5, 0.52, 0.46, 180, 360))
    for x in (0.193, 0.5, 0.807):
        pen.oval(CLEAR, x, 0.54, 0.148, 0.085)
    pen.line(ACCENT, 0.05, (0.5, 0.45), (0.5, 0.86))
    pen.line(DARK, 0.025, *arc_points(0.86, 0.56, 0.52, 182, 226))
    pen.line(DARK, 0.025, *arc_points(0.14, 0.56, 0.52, -2, -46))


def key(pen: Pen) -> None:
    """A round bow, a shaft and two teeth."""
    pen.oval(MAIN, 0.24, 0.3, 0.24)
    pen.oval(CLEAR, 0.22, 0.28, 0.1)
    pen.line(MAIN, 0.11, (0.38, 0.42), (0.92, 0.86))
    pen.line(MAIN, 0.1, (0.68, 0.66), (0.56, 0.8))
    pen.line(MAIN, 0.1, (0.86, 0.81), (0.74, 0.95))


def cup(pen: Pen) -> None:
    """A mug with a handle, steaming."""
    pen.arc(MAIN, 0.09, 0.74, 0.62, 0.19, -80, 85)
    pen.polygon(MAIN, (0.06, 0.38), (0.76, 0.38), (0.69, 0.96), (0.13, 0.96))
    pen.oval(TINT, 0.41, 0.38, 0.35, 0.085)
    pen.oval(DARK, 0.41, 0.385, 0.28, 0.055)
    for x in (0.28, 0.5):
        pen.line(ACCENT, 0.04, *[(x + 0.035 * math.sin(step), 0.25 - 0.045 * step) for step in range(6)])


def bottle(pen: Pen) -> None:
    """A neck, shoulders, a label and a cap."""
    pen.box(ACCENT, 0.41, 0.0, 0.59, 0.1, radius=0.02)
    pen.box(MAIN, 0.42, 0.09, 0.58, 0.4)
    pen.blob(MAIN, (0.42, 0.28), (0.5, 0.26), (0.58, 0.28), (0.7, 0.45), (0.71, 0.7), (0.69, 0.95), (0.5, 0.99),
             (0.31, 0.95), (0.29, 0.7), (0.3, 0.45))  # fmt: skip
    pen.box(LIGHT, 0.32, 0.55, 0.68, 0.8)
    pen.line(DARK, 0.03, (0.39, 0.64), (0.61, 0.64))
    pen.line(DARK, 0.03, (0.39, 0.72), (0.55, 0.72))


def kite(pen: Pen) -> None:
    """A diamond with spars and a tail of bows."""
    tail = [(0.36 + 0.09 * math.sin(step * 0.7), 0.66 + 0.042 * step) for step in range(9)]
    pen.line(DARK, 0.025, (0.5, 0.62), *tail)
    for x, y in (tail[2], tail[6]):
        pen.polygon(MAIN, (x - 0.09, y - 0.05), (x - 0.09, y + 0.06), (x + 0.09, y - 0.05), (x + 0.09, y + 0.06))
    pen.polygon(MAIN, (0.58, 0.0), (0.92, 0.28), (0.5, 0.66), (0.2, 0.26))
    pen.polygon(TINT, (0.58, 0.0), (0.92, 0.28), (0.55, 0.27))
    pen.polygon(TINT, (0.5, 0.66), (0.2, 0.26), (0.55, 0.27))
    pen.line(DARK, 0.022, (0.58, 0.0), (0.5, 0.66))
    pen.line(DARK, 0.022, (0.2, 0.26), (0.92, 0.28))


def clock(pen: Pen) -> None:
    """An alarm clock: two bells, a face with hands, two feet."""
    pen.oval(MAIN, 0.22, 0.14, 0.16, 0.11, turn=-40)
    pen.oval(MAIN, 0.78, 0.14, 0.16, 0.11, turn=40)
    pen.line(DARK, 0.06, (0.26, 0.86), (0.16, 0.98))
    pen.line(DARK, 0.06, (0.74, 0.86), (0.84, 0.98))
    pen.oval(MAIN, 0.5, 0.55, 0.42)
    pen.oval(LIGHT, 0.5, 0.55, 0.3)
    for step in range(0, 360, 90):
        turn = math.radians(step)
        pen.oval(DARK, 0.5 + 0.25 * math.cos(turn), 0.55 + 0.25 * math.sin(turn), 0.022)
    pen.line(DARK, 0.045, (0.5, 0.55), (0.5, 0.36))
    pen.line(DARK, 0.045, (0.5, 0.55), (0.64, 0.61))


def hat(pen: Pen) -> None:
    """A top hat with a band."""
    pen.polygon(MAIN, (0.2, 0.08), (0.8, 0.08), (0.74, 0.8), (0.26, 0.8))
    pen.oval(TINT, 0.5, 0.09, 0.3, 0.06)
    pen.polygon(LIGHT, (0.246, 0.58), (0.754, 0.58), (0.742, 0.72), (0.258, 0.72))
    pen.oval(MAIN, 0.5, 0.82, 0.5, 0.1)
    pen.polygon(MAIN, (0.262, 0.72), (0.738, 0.72), (0.735, 0.8), (0.265, 0.8))


def chair(pen: Pen) -> None:
    """A back with slats, a seat and four legs, seen from the side."""
    pen.line(SHADE, 0.075, (0.4, 0.58), (0.4, 0.86))
    pen.line(SHADE, 0.075, (0.9, 0.58), (0.9, 0.86))
    pen.line(MAIN, 0.085, (0.14, 0.04), (0.14, 0.96))
    pen.line(MAIN, 0.085, (0.7, 0.64), (0.7, 0.96))
    pen.line(MAIN, 0.07, (0.4, 0.02), (0.4, 0.54))
    for y in (0.08, 0.22, 0.36):
        pen.line(MAIN, 0.07, (0.14, y + 0.03), (0.4, y - 0.02))
    pen.polygon(MAIN, (0.1, 0.6), (0.38, 0.5), (0.94, 0.5), (0.74, 0.6))
    pen.polygon(SHADE, (0.1, 0.6), (0.74, 0.6), (0.74, 0.67), (0.1, 0.67))
    pen.polygon(SHADE, (0.74, 0.6), (0.94, 0.5), (0.94, 0.57), (0.74, 0.67))


def lamp(pen: Pen) -> None:
    """A table lamp: shade, stem, foot and a glowing bulb."""
    pen.oval(LIGHT, 0.5, 0.5, 0.1)
    pen.line(ACCENT, 0.06, (0.5, 0.46), (0.5, 0.92))
    pen.polygon(MAIN, (0.3, 0.02), (0.7, 0.02), (0.94, 0.48), (0.06, 0.48))
    pen.polygon(TINT, (0.44, 0.02), (0.56, 0.02), (0.62, 0.48), (0.38, 0.48))
    pen.box(ACCENT, 0.24, 0.9, 0.76, 1.0, radius=0.04)
    pen.line(DARK, 0.02, (0.76, 0.5), (0.76, 0.68))
    pen.oval(DARK, 0.76, 0.7, 0.03)


def book(pen: Pen) -> None:
    """A closed book standing aslant: cover, spine and the edge of its pages."""
    pen.polygon(SHADE, (0.06, 0.12), (0.18, 0.06), (0.18, 0.86), (0.06, 0.94))
    pen.polygon(LIGHT, (0.1, 0.9), (0.2, 0.84), (0.94, 0.84), (0.86, 0.95), (0.1, 0.95))
    pen.line(DARK, 0.015, (0.14, 0.9), (0.9, 0.9))
    pen.polygon(MAIN, (0.18, 0.04), (0.94, 0.04), (0.94, 0.84), (0.18, 0.84))
    pen.line(SHADE, 0.05, (0.06, 0.96), (0.84, 0.96), (0.94, 0.84))
    pen.box(LIGHT, 0.34, 0.16, 0.8, 0.4, radius=0.02)
    pen.line(DARK, 0.035, (0.41, 0.24), (0.73, 0.24))
    pen.line(DARK, 0.035, (0.46, 0.32), (0.68, 0.32))
    pen.line(SHADE, 0.03, (0.24, 0.06), (0.24, 0.82))


def guitar(pen: Pen) -> None:
    """A waisted body with a sound hole, a neck and a head, aslant."""
    pen.line(ACCENT, 0.075, (0.42, 0.58), (0.86, 0.14))
    pen.line(DARK, 0.12, (0.85, 0.15), (0.95, 0.05))
    pen.oval(MAIN, 0.29, 0.71, 0.28)
    pen.oval(MAIN, 0.48, 0.52, 0.2)
    pen.line(ACCENT, 0.075, (0.5, 0.5), (0.86, 0.14))
    pen.oval(DARK, 0.42, 0.58, 0.085)
    pen.line(DARK, 0.045, (0.17, 0.71), (0.29, 0.83))
    pen.line(LIGHT, 0.018, (0.23, 0.77), (0.86, 0.14))


def ladder(pen: Pen) -> None:
    """Two rails and five rungs."""
    pen.line(MAIN, 0.08, (0.3, 0.02), (0.24, 0.98))
    pen.line(MAIN, 0.08, (0.7, 0.02), (0.76, 0.98))
    for y in (0.14, 0.32, 0.5, 0.68, 0.86):
        pen.line(MAIN, 0.065, (0.3 - 0.06 * y, y), (0.7 + 0.06 * y, y))


def anchor(pen: Pen) -> None:
    """A ring, a stock, a shank and two flukes."""
    pen.ring(MAIN, 0.5, 0.12, 0.09, 0.06)
    pen.line(MAIN, 0.1, (0.5, 0.22), (0.5, 0.92))
    pen.line(MAIN, 0.08, (0.28, 0.33), (0.72, 0.33))
    pen.arc(MAIN, 0.1, 0.5, 0.5, 0.42, 20, 160)
    pen.polygon(MAIN, (0.98, 0.7), (0.92, 0.44), (0.74, 0.62))
    pen.polygon(MAIN, (0.02, 0.7), (0.08, 0.44), (0.26, 0.62))


def crown(pen: Pen) -> None:
    """Five points with balls, a band with jewels."""
    pen.polygon(MAIN, (0.08, 0.86), (0.02, 0.3), (0.26, 0.56), (0.5, 0.16), (0.74, 0.56), (0.98, 0.3), (0.92, 0.86))
    for x, y in ((0.03, 0.28), (0.5, 0.13), (0.97, 0.28)):
        pen.oval(MAIN, x, y, 0.065)
    pen.box(SHADE, 0.08, 0.74, 0.92, 0.9)
    for x in (0.26, 0.5, 0.74):
        pen.oval(LIGHT, x, 0.82, 0.05)


def bell(pen: Pen) -> None:
    """A flaring bell with a clapper and a loop."""
    pen.ring(MAIN, 0.5, 0.09, 0.06, 0.045)
    pen.oval(DARK, 0.5, 0.9, 0.09)
    pen.blob(MAIN, (0.5, 0.12), (0.66, 0.18), (0.74, 0.4), (0.78, 0.64), (0.94, 0.8), (0.9, 0.86), (0.5, 0.87),
             (0.1, 0.86), (0.06, 0.8), (0.22, 0.64), (0.26, 0.4), (0.34, 0.18))  # fmt: skip
    pen.line(SHADE, 0.05, (0.2, 0.72), (0.8, 0.72))
    pen.line(TINT, 0.06, (0.38, 0.3), (0.34, 0.56))


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


def car(pen: Pen) -> None:
    """A saloon from the side."""
    pen.polygon(MAIN, (0.2, 0.5), (0.32, 0.26), (0.68, 0.26), (0.84, 0.5))
    pen.polygon(LIGHT, (0.27, 0.5), (0.36, 0.32), (0.48, 0.32), (0.48, 0.5))
    pen.polygon(LIGHT, (0.53, 0.5), (0.53, 0.32), (0.65, 0.32), (0.76, 0.5))
    pen.box(MAIN, 0.0, 0.48, 1.0, 0.74, radius=0.09)
    pen.oval(LIGHT, 0.04, 0.57, 0.03, 0.045)
    for x in (0.24, 0.76):
        _wheel(pen, x, 0.74, 0.125)


def bus(pen: Pen) -> None:
    """A long box with a row of windows."""
    pen.box(MAIN, 0.0, 0.22, 1.0, 0.78, radius=0.06)
    for x in (0.05, 0.24, 0.43, 0.62):
        pen.box(LIGHT, x, 0.3, x + 0.155, 0.48, radius=0.015)
    pen.box(LIGHT, 0.82, 0.3, 0.97, 0.7, radius=0.015)
    pen.box(SHADE, 0.0, 0.56, 0.78, 0.62)
    for x in (0.22, 0.7):
        _wheel(pen, x, 0.78, 0.11)


def train(pen: Pen) -> None:
    """A steam engine from the side, going left, with smoke."""
    pen.oval(LIGHT, 0.34, 0.07, 0.07)
    pen.oval(LIGHT, 0.45, 0.05, 0.05)
    pen.polygon(SHADE, (0.12, 0.16), (0.32, 0.16), (0.27, 0.26), (0.27, 0.42), (0.17, 0.42), (0.17, 0.26))
    pen.oval(SHADE, 0.45, 0.4, 0.07, 0.09)
    pen.box(MAIN, 0.06, 0.38, 0.68, 0.68, radius=0.06)
    pen.box(MAIN, 0.6, 0.18, 0.94, 0.74)
    pen.box(SHADE, 0.55, 0.12, 0.99, 0.21, radius=0.03)
    pen.box(LIGHT, 0.68, 0.28, 0.86, 0.46)
    pen.polygon(DARK, (0.08, 0.68), (0.08, 0.9), (0.0, 0.94), (0.0, 0.88))
    pen.box(DARK, 0.06, 0.66, 0.96, 0.75)
    for x, radius in ((0.18, 0.1), (0.42, 0.1), (0.76, 0.16)):
        _wheel(pen, x, 0.96 - radius, radius)


def bike(pen: Pen) -> None:
    """Two wheels, a diamond frame, a saddle and handlebars."""
    for x in (0.21, 0.79):
        pen.ring(DARK, x, 0.66, 0.2, 0.04)
    pen.line(MAIN, 0.065, (0.21, 0.66), (0.36, 0.36), (0.68, 0.36), (0.47, 0.66), (0.21, 0.66))
    pen.line(MAIN, 0.065, (0.47, 0.66), (0.33, 0.28))
    pen.line(MAIN, 0.065, (0.79, 0.66), (0.66, 0.24))
    pen.line(DARK, 0.065, (0.24, 0.26), (0.41, 0.26))
    pen.line(DARK, 0.055, (0.66, 0.22), (0.78, 0.18), (0.82, 0.26))


def boat(pen: Pen) -> None:
    """A hull under two sails."""
    pen.line(ACCENT, 0.045, (0.5, 0.02), (0.5, 0.8))
    pen.polygon(TINT, (0.54, 0.06), (0.54, 0.66), (0.94, 0.66))
    pen.polygon(MAIN, (0.46, 0.14), (0.46, 0.66), (0.12, 0.66))
    pen.polygon(MAIN, (0.0, 0.74), (1.0, 0.74), (0.82, 0.97), (0.18, 0.97))
    pen.line(LIGHT, 0.035, (0.1, 0.81), (0.9, 0.81))


def plane(pen: Pen) -> None:
    """An airliner from above, heading up and right."""
    pen.polygon(SHADE, (0.56, 0.46), (0.16, 0.2), (0.06, 0.28), (0.42, 0.62))
    pen.polygon(SHADE, (0.54, 0.44), (0.8, 0.84), (0.72, 0.94), (0.38, 0.58))
    pen.polygon(SHADE, (0.22, 0.72), (0.02, 0.64), (0.02, 0.72), (0.18, 0.84))
    pen.polygon(SHADE, (0.28, 0.78), (0.36, 0.98), (0.28, 0.98), (0.16, 0.82))
    pen.line(MAIN, 0.14, (0.16, 0.84), (0.84, 0.16))
    pen.oval(MAIN, 0.86, 0.14, 0.13, 0.075, turn=-45)
    pen.line(LIGHT, 0.05, (0.87, 0.19), (0.81, 0.13))


def rocket(pen: Pen) -> None:
    """A pointed body with fins, a porthole and a flame."""
    pen.polygon(ACCENT, (0.38, 0.76), (0.62, 0.76), (0.57, 0.88), (0.5, 1.0), (0.43, 0.88))
    pen.polygon(SHADE, (0.34, 0.46), (0.14, 0.7), (0.14, 0.86), (0.36, 0.74))
    pen.polygon(SHADE, (0.66, 0.46), (0.86, 0.7), (0.86, 0.86), (0.64, 0.74))
    pen.polygon(MAIN, (0.5, 0.0), *arc_points(0.16, 0.5, 0.52, -38, 28), *arc_points(0.84, 0.5, 0.52, 152, 218))
    pen.oval(DARK, 0.5, 0.38, 0.105)
    pen.oval(LIGHT, 0.5, 0.38, 0.075)
    pen.line(SHADE, 0.04, (0.39, 0.6), (0.61, 0.6))


def _wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.oval(DARK, x, y, radius)
    pen.oval(LIGHT, x, y, radius * 0.42)
