"""The synthetic scenes: determinism, contrast, held-out combinations, boxes, pairs."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mobileclip_kit.errors import UsageError
from mobileclip_kit.scenes import (
    COLOURS,
    KINDS,
    SceneConfig,
    draw_gallery_scene,
    draw_scene,
    draw_text_pair,
    held_out,
)
from mobileclip_kit.scenes.backgrounds import BACKGROUNDS, choose_backdrop, contrast
from mobileclip_kit.scenes.folder import encode_png
from mobileclip_kit.scenes.objects import ink_matrix, kind_sprite
from mobileclip_kit.scenes.rng import seeded
from mobileclip_kit.scenes.sprites import TYPEFACES, place, word_sprite

MANY = 400


@pytest.fixture(scope="module")
def training():
    return [draw_scene(3, index, 32) for index in range(MANY)]


def test_scenes_are_as_rich_as_promised():
    assert len(KINDS) >= 32
    assert len(COLOURS) == 10
    assert len(BACKGROUNDS) >= 20


def test_an_image_follows_from_seed_and_index_in_any_order(training):
    again = draw_scene(3, 17, 32)
    np.testing.assert_array_equal(again.image, training[17].image)
    assert again.captions == training[17].captions
    assert again.truth == training[17].truth


def test_other_seeds_and_splits_give_other_images(training):
    for other in (draw_scene(4, 17, 32), draw_scene(3, 17, 32, split="test")):
        assert other.image.tobytes() != training[17].image.tobytes()


def test_the_same_scene_is_drawn_at_every_size():
    for index in range(20):
        small, large = draw_scene(1, index, 64), draw_scene(1, index, 224)
        assert small.captions == large.captions
        shrunk = np.asarray(Image.fromarray(large.image).resize((64, 64), Image.Resampling.BOX), dtype=float)
        # Noise differs; what is drawn does not.
        assert np.abs(shrunk - small.image).mean() < 12


@pytest.mark.parametrize("size", [16, 65, 160])
def test_any_size_is_drawn(size):
    for index in range(30):
        scene = draw_scene(5, index, size)
        assert scene.image.shape == (size, size, 3)
        assert scene.image.dtype == np.uint8


def test_one_tenth_of_combinations_is_held_out_evenly():
    pairs = [(kind, colour) for kind in KINDS for colour in COLOURS if held_out(kind, colour)]
    assert len(pairs) == len(KINDS)
    assert set(Counter(kind for kind, _ in pairs).values()) == {1}
    assert set(Counter(colour for _, colour in pairs).values()) == {len(KINDS) // 10}


def test_training_never_shows_a_held_out_combination(training):
    shown = [(group.kind, group.colour) for scene in training for group in scene.truth.objects]
    assert len(shown) > 200
    assert not any(held_out(*pair) for pair in shown)


def test_test_split_shows_some_held_out_combinations_and_unseen_shows_nothing_else():
    def shown(split):
        scenes = [draw_scene(3, index, 16, split=split) for index in range(200)]
        return [held_out(group.kind, group.colour) for scene in scenes for group in scene.truth.objects]

    assert 0.03 < np.mean(shown("test")) < 0.2
    assert all(shown("unseen"))


def test_forms_come_in_their_shares(training):
    shares = Counter(scene.truth.form for scene in training)
    config = SceneConfig()
    # Three standard deviations of a share of 0.3 in 400 draws are 0.07.
    assert abs(shares["word"] / MANY - config.word_share) < 0.07
    assert abs(shares["pair"] / MANY - config.pair_share) < 0.07
    assert shares["word over thing"] > 0


def test_relation_agrees_with_the_boxes():
    compared = 0
    for index in range(300):
        truth = draw_scene(9, index, 32).truth
        if truth.relation is None:
            continue
        first, second = (np.mean([box for box in group.boxes], axis=0) for group in truth.objects)
        middle = {"left of": (0, 2), "right of": (0, 2), "above": (1, 3), "below": (1, 3)}[truth.relation]
        before = first[list(middle)].sum() < second[list(middle)].sum()
        assert before == (truth.relation in ("left of", "above"))
        compared += 1
    assert compared > 30


def test_sprite_is_placed_at_its_centre_with_its_extent():
    for kind in KINDS:
        drawn, corner = place(kind_sprite(kind, 64), 40, (32, 32))
        left, top, right, bottom = drawn.getchannel("a").getbbox()
        assert max(right - left, bottom - top) == pytest.approx(40, abs=2.5), kind
        middle = corner[0] + (left + right) / 2, corner[1] + (top + bottom) / 2
        assert middle == pytest.approx((32, 32), abs=1.6), kind


def test_truth_boxes_bound_what_is_drawn():
    """Without noise and blur, a scene and the same scene with a word differ in the word's box and its outline."""
    config = SceneConfig(noise=0.0, blur_share=0.0)
    for index in range(20):
        clean, written = draw_text_pair(1, index, 64, config=config)
        rows, columns = np.nonzero((clean.image != written.image).any(axis=-1))
        changed = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        # The box is of the letters; the outline adds about two pixels, and may match what it covers.
        assert np.array(changed) / 64 == pytest.approx(np.array(written.truth.word.box), abs=4 / 64)


def test_an_object_is_mostly_of_its_colour():
    """The inks: where the drawing is not dark, light or accent, the pixel is the colour itself."""
    for kind in KINDS:
        levels = kind_sprite(kind, 64).levels[0].convert("RGBA")
        weights = np.asarray(levels, dtype=float)
        inside = weights[..., 3] > 250
        main = (weights[..., 0] > 100) & inside
        assert main.sum() > 0.25 * inside.sum(), kind
        coloured = np.asarray(levels.convert("RGB").convert("RGB", ink_matrix(kind, "blue", (0, 0, 0))))
        pure = (weights[..., 0] > 254) & inside
        np.testing.assert_array_equal(coloured[pure], np.broadcast_to(COLOURS["blue"], (pure.sum(), 3)))


def test_every_two_colours_find_backgrounds_that_both_stand_out_from():
    for first in COLOURS:
        for second in COLOURS:
            for draw in range(4):
                backdrop = choose_backdrop(seeded(first, second, draw), (first, second))
                least = min(contrast(COLOURS[ink], shade) for ink in (first, second) for shade in backdrop.colours)
                assert least > 20, (first, second, backdrop)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_kinds_look_alike(kind):
    """Silhouettes and inks of two kinds at 24 pixels never agree closely."""
    images = {name: _thumbnail(name) for name in KINDS}
    nearest = min(np.abs(images[kind] - images[other]).mean() for other in KINDS if other != kind)
    assert nearest > 0.06


def _thumbnail(kind: str):
    drawn, corner = place(kind_sprite(kind, 64), 22, (12, 12))
    canvas = Image.new("RGBA", (24, 24))
    canvas.paste(drawn.convert("RGBA"), corner)
    return np.asarray(canvas, dtype=float) / 255


def test_every_typeface_writes_every_name_differently():
    for typeface in TYPEFACES:
        masks = {kind: word_sprite(kind, typeface, 64) for kind in KINDS}
        assert all(max(np.asarray(sprite.levels[0]).ravel()) > 200 for sprite in masks.values()), typeface
        assert len({sprite.levels[0].tobytes() for sprite in masks.values()}) == len(KINDS)


def test_words_lie_inside_the_image_and_are_as_wide_as_configured():
    config = SceneConfig(word_share=1.0, word_over_share=0.0, pair_share=0.0, word_width=(0.6, 0.9))
    for index in range(100):
        word = draw_scene(2, index, 64, config=config).truth.word
        assert 0 < word.box[0] < word.box[2] < 1
        assert 0 < word.box[1] < word.box[3] < 1
        assert word.box[2] - word.box[0] < 0.9 + 3 / 64
        assert word.box[2] - word.box[0] > 0.6 - 3 / 64 or len(word.text) <= 3


def test_text_pair_differs_inside_the_word_only():
    for index in range(40):
        clean, written = draw_text_pair(6, index, 64)
        assert clean.truth.word is None
        assert written.truth.word is not None
        assert clean.truth.objects == written.truth.objects
        changed = (clean.image != written.image).any(axis=-1)
        assert changed.any()
        left, top, right, bottom = (round(edge * 64) for edge in written.truth.word.box)
        margin = 5  # outline and blur
        changed[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin] = False
        assert not changed.any()


def test_text_pair_never_writes_the_name_of_what_it_shows():
    for index in range(100):
        _, written = draw_text_pair(6, index, 16)
        assert written.truth.word.text != written.truth.objects[0].kind


def test_gallery_is_fair_to_words_and_things():
    rows = [draw_gallery_scene(1, index, 16).truth for index in range(2 * len(KINDS) * 2)]
    assert Counter(row.word.text for row in rows if row.alone) == dict.fromkeys(KINDS, 2)
    assert Counter(row.objects[0].kind for row in rows if row.form == "thing") == dict.fromkeys(KINDS, 2)


def test_pairs_split_alternates_clean_and_written():
    clean, written = (draw_scene(6, index, 32, split="pairs") for index in (8, 9))
    assert [scene.truth.image for scene in (clean, written)] == ["pairs/6/8", "pairs/6/9"]
    np.testing.assert_array_equal(clean.image, draw_text_pair(6, 4, 32)[0].image)


def test_png_is_lossless():
    image = np.random.default_rng(0).integers(0, 256, (7, 13, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(image)))), image)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"size": 15}, "15 px"),
        ({"size": 2000}, "2000 px"),
        ({"index": -1}, "negative"),
        ({"split": "dev"}, "'dev'"),
    ],
)
def test_impossible_images_are_refused(arguments, word):
    with pytest.raises(UsageError, match=word):
        draw_scene(**({"seed": 0, "index": 0, "size": 64} | arguments))


@pytest.mark.parametrize(
    "change",
    [
        {"kinds": ("star", "unicorn")},
        {"kinds": ("star",)},
        {"typefaces": (("comic", 1.0),)},
        {"word_share": 0.9, "pair_share": 0.9},
        {"word_width": (0.9, 0.1)},
        {"captions": 0},
    ],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(UsageError):
        dataclasses.replace(SceneConfig(), **change)
