"""The built-in world: drawn pictures with captions and exact truth, for a first run without downloads."""

from mobileclip_kit.data.scenes.objects import COLOURS, KINDS, held_out
from mobileclip_kit.data.scenes.plan import WorldConfig
from mobileclip_kit.data.scenes.truth import Truth, read_truth
from mobileclip_kit.data.scenes.world import Scene, draw_gallery_scene, draw_scene, draw_text_pair

__all__ = [
    "COLOURS",
    "KINDS",
    "Scene",
    "Truth",
    "WorldConfig",
    "draw_gallery_scene",
    "draw_scene",
    "draw_text_pair",
    "held_out",
    "read_truth",
]
