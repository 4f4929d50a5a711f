"""Drawings of made things, each in the unit square (see ``pen``)."""

from __future__ import annotations

import math

from mobileclip_kit.scenes.pen import ACCENT, CLEAR, DARK, LIGHT, MAIN, SHADE, TINT, Pen, arc_points


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
