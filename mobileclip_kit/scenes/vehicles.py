"""Drawings of what rides, sails and flies, each in the unit square (see ``pen``)."""

from __future__ import annotations

from mobileclip_kit.scenes.pen import ACCENT, DARK, LIGHT, MAIN, SHADE, TINT, Pen, arc_points


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
