"""The synthetic scenes: drawn images with captions and exact truth, for a first run without downloads."""

from mobileclip_kit.scenes.objects import COLOURS, KINDS, held_out
from mobileclip_kit.scenes.plan import SceneConfig
from mobileclip_kit.scenes.scene import Scene, draw_gallery_scene, draw_scene, draw_text_pair
from mobileclip_kit.scenes.truth import Truth, read_truth

__all__ = [
    "COLOURS",
    "KINDS",
    "Scene",
    "Truth",
    "SceneConfig",
    "draw_gallery_scene",
    "draw_scene",
    "draw_text_pair",
    "held_out",
    "read_truth",
]
