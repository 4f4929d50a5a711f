"""Pixels against open_clip's own transform, on drawn images of every mode and shape."""

import contextlib
import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import EpsImagePlugin, Image, ImageOps, UnidentifiedImageError, features

import mobileclip_kit
from mobileclip_kit.errors import DataError, ImageError, ShapeError
from mobileclip_kit.images import (
    MAX_PIXELS,
    image_suffixes,
    list_images,
    load_image,
    load_pixels,
    normalize,
    open_image,
    resize_and_crop,
)
from mobileclip_kit.spec import ImageSpec

ONE_LEVEL = 1  # of 255: what the issue of parity allows
ORIENTATION = 0x0112


def draw(width, height, seed=0):
    """A smooth image with noise and hard edges, RGB uint8."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(columns / (5 + band) + rows / (9 - band)) for band in range(3)]
    pixels = np.stack(waves, -1) + generator.normal(0, 12, (height, width, 3))
    pixels[height // 4 : height // 2, width // 3 :] = (250, 20, 5)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def reference(image, spec):
    """What open_clip's transform makes of an image, in levels 0…255."""
    config = PreprocessCfg(**{**spec.to_open_clip(), "mean": (0.0,) * 3, "std": (1.0,) * 3})
    return image_transform_v2(config, is_train=False)(image).numpy().transpose(1, 2, 0) * 255


def encoded(image, file_format="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def levels_apart(pixels, expected):
    return np.abs(pixels.astype(np.float64) - expected).max()


def png_header(width, height):
    """A PNG that says how large it is and holds nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("target", [(32, 32), (224, 224), (33, 20), (20, 47)])
def test_pixels_equal_open_clip_for_every_mode_filter_and_shape(resize_mode, interpolation, target):
    spec = ImageSpec(
        height=target[0], width=target[1], interpolation=interpolation, resize_mode=resize_mode, fill_color=77
    )
    for size in [(100, 75), (75, 100), (301, 97), (64, 64), (31, 33), (9, 7), target[::-1]]:
        image = draw(*size)
        assert levels_apart(resize_and_crop(image, spec), reference(image, spec)) == 0, size


EXTREMES = [(1, 4000), (4000, 1), (5000, 7), (7, 5000), (3, 911), (911, 3), (120, 9000), (9000, 120)]


@pytest.mark.parametrize("size", EXTREMES)
@pytest.mark.parametrize("target", [(32, 32), (36, 24)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_extreme_shapes_equal_open_clip(size, target, interpolation):
    image = draw(*size)
    spec = ImageSpec(height=target[0], width=target[1], interpolation=interpolation)
    assert levels_apart(resize_and_crop(image, spec), reference(image, spec)) <= ONE_LEVEL
    squashed = ImageSpec(height=target[0], width=target[1], interpolation=interpolation, resize_mode="squash")
    assert levels_apart(resize_and_crop(image, squashed), reference(image, squashed)) == 0


@pytest.mark.parametrize("size", [(1, 4000), (5000, 7)])
def test_extreme_shapes_equal_open_clip_at_224(size):
    image = draw(*size)
    assert levels_apart(resize_and_crop(image, ImageSpec()), reference(image, ImageSpec())) <= ONE_LEVEL


def test_extreme_shapes_with_alpha_equal_open_clip():
    image = draw(3, 911).convert("RGBA")
    image.putalpha(draw(3, 911, seed=5).getchannel(1))
    spec = ImageSpec(height=32, width=32)
    assert levels_apart(resize_and_crop(image, spec), reference(image, spec)) <= ONE_LEVEL


def test_an_image_of_one_row_and_millions_of_columns_is_resized_in_its_middle():
    """open_clip would need terabytes; the middle column pair is 100 | 200, so the crop is a step."""
    row = np.full((1, 20_000_000, 3), 100, np.uint8)
    row[:, 10_000_000:] = 200
    pixels = resize_and_crop(Image.fromarray(row), ImageSpec(interpolation="bilinear"))
    assert pixels.shape == (224, 224, 3)
    # One pixel becomes 224 columns, and the crop's middle lies on the step: a straight ramp from 100 to 200.
    ramp = 100 + 100 * (np.arange(224) + 0.5) / 224
    assert levels_apart(pixels, ramp[None, :, None]) <= ONE_LEVEL


def test_longest_keeps_one_column_where_open_clip_fails():
    spec = ImageSpec(height=224, width=224, resize_mode="longest", fill_color=9)
    image = Image.new("RGB", (1, 4000), (200, 100, 50))
    with pytest.raises(ValueError, match="must be > 0"):
        reference(image, spec)
    pixels = resize_and_crop(image, spec)
    assert (pixels[:, 111] == (200, 100, 50)).all()
    assert (np.delete(pixels, 111, axis=1) == 9).all()


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_modes_that_can_be_averaged_equal_open_clip(mode, resize_mode):
    """Half-transparent and CMYK images too: open_clip converts them after the resize."""
    if resize_mode == "longest" and mode in ("CMYK", "YCbCr"):
        pytest.skip("open_clip pads before the conversion; see the next test")
    image = draw(90, 61).convert("RGBA")
    image.putalpha(draw(90, 61, seed=5).getchannel(1))
    image = image.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "L") else image.convert(mode)
    spec = ImageSpec(height=40, width=40, resize_mode=resize_mode)
    assert levels_apart(resize_and_crop(image, spec), reference(image, spec)) == 0


def test_padding_of_a_cmyk_image_is_the_fill_colour():
    spec = ImageSpec(height=40, width=40, resize_mode="longest")
    pixels = resize_and_crop(Image.new("CMYK", (80, 40), (0, 255, 255, 0)), spec)
    assert (pixels[:10] == 0).all()
    assert (pixels[20] == (255, 0, 0)).all()


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "TIFF", "BMP"])
def test_palette_images_are_resized_as_colours(file_format):
    palette = draw(90, 61).quantize(64)
    spec = ImageSpec(height=40, width=40)
    pixels = load_pixels(encoded(palette, file_format), spec)
    assert levels_apart(pixels, reference(palette.convert("RGB"), spec)) == 0
    assert levels_apart(pixels, reference(palette, spec)) > 20  # open_clip picks the nearest pixel


def test_palette_with_transparency_keeps_its_colours_and_does_not_warn():
    palette = draw(90, 61).quantize(16)
    spec = ImageSpec(height=40, width=40)
    data = encoded(palette, transparency=bytes(range(0, 256, 16)))
    assert levels_apart(load_pixels(data, spec), reference(palette.convert("RGB"), spec)) == 0


def test_bilevel_images_are_averaged():
    checkers = Image.fromarray(np.indices((80, 80)).sum(0) % 2 == 0).convert("1")
    pixels = load_pixels(encoded(checkers), ImageSpec(height=20, width=20))
    assert (np.abs(pixels[2:-2, 2:-2].astype(int) - 127) <= 1).all()


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_samples_become_8_bit_ones(file_format):
    samples = np.linspace(0, 65535, 4096).reshape(64, 64).astype(np.uint16)
    pixels = load_pixels(encoded(Image.fromarray(samples), file_format), ImageSpec(height=64, width=64))
    assert (pixels[..., 0] == np.rint(samples / 257)).all()
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_32_bit_integers_are_8_bit_samples_unless_one_exceeds_255():
    spec = ImageSpec(height=2, width=2)
    small = Image.fromarray(np.array([[0, 10], [200, 255]], np.int32))
    large = Image.fromarray(np.array([[-5, 257], [25700, 99999]], np.int32))
    assert resize_and_crop(small, spec)[..., 0].tolist() == [[0, 10], [200, 255]]
    assert resize_and_crop(large, spec)[..., 0].tolist() == [[0, 1], [100, 255]]


def test_float_samples_are_clipped_as_in_open_clip():
    image = Image.fromarray(np.array([[-3, 0.2], [99, 300]], np.float32))
    assert resize_and_crop(image, ImageSpec(height=2, width=2))[..., 0].tolist() == [[0, 0], [99, 255]]


def test_a_flipped_bit_in_the_pixels_of_a_png_is_told():
    """Pillow decodes other pixels of some of these files without a word."""
    sound = encoded(Image.fromarray(np.add.outer(np.arange(90), np.arange(120)).astype(np.uint8)))
    unnoticed = 0
    for place in range(sound.index(b"IDAT") + 4, sound.index(b"IEND") - 4):
        data = bytearray(sound)
        data[place] ^= 4
        with contextlib.suppress(OSError, SyntaxError), Image.open(io.BytesIO(data)) as image:
            image.load()
            unnoticed += 1
        with pytest.raises(ImageError, match="damaged or cut off"):
            load_image(bytes(data))
    assert unnoticed > 10
    behind = b"\0\0\0\x01IDAT?????"  # what follows an image's end is none of its pixels
    assert load_image(sound + behind).size == (120, 90)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(orientation, file_format):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(draw(48, 30), file_format, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
    spec = ImageSpec(height=24, width=32)
    assert load_image(data).size == ((30, 48) if orientation >= 5 else (48, 30))
    assert levels_apart(load_pixels(data, spec), reference(upright, spec)) == 0


def test_orientation_six_brings_the_left_side_up():
    """By hand: 6 means that row 0 is the right side, so an image red on its left becomes red at the top."""
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10, 0] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright = np.asarray(load_image(encoded(Image.fromarray(pixels), exif=exif)))
    assert (upright[:10, :, 0] == 255).all()
    assert (upright[10:] == 0).all()


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"]
)
def test_damaged_exif_does_not_cost_the_image(exif):
    data = encoded(draw(40, 30), "JPEG", exif=exif)
    assert load_image(data).size == (40, 30)


def test_normalize_equals_open_clip():
    image, spec = draw(90, 61), ImageSpec(height=40, width=40)
    tensor = image_transform_v2(PreprocessCfg(**spec.to_open_clip()), is_train=False)(image).numpy()
    normal = normalize(resize_and_crop(image, spec)[None], spec)
    assert normal.dtype == np.float32
    assert normal.flags.c_contiguous
    np.testing.assert_array_equal(normal[0], tensor)


def test_normalize_by_hand():
    spec = ImageSpec(height=1, width=1, mean=(0.5, 0.0, 0.2), std=(0.5, 1.0, 0.1))
    normal = normalize(np.array([[[[255, 51, 51]]]], np.uint8), spec)
    np.testing.assert_allclose(normal.reshape(-1), [1.0, 0.2, 0.0], atol=1e-6)


@pytest.mark.parametrize("pixels", [np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3), np.float32)])
def test_normalize_refuses_other_shapes_and_types(pixels):
    with pytest.raises(ShapeError, match="uint8"):
        normalize(pixels, ImageSpec())


def test_only_the_first_frame_counts():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (np.asarray(load_image(data)) == (255, 0, 0)).all()


def test_paths_and_bytes_give_the_same(tmp_path):
    path = tmp_path / "an image.jpg"
    path.write_bytes(encoded(draw(50, 40), "JPEG"))
    spec = ImageSpec(height=32, width=32)
    np.testing.assert_array_equal(load_pixels(path, spec), load_pixels(path.read_bytes(), spec))


def test_an_image_for_a_thumbnail_keeps_the_sides_that_were_asked_for():
    large = encoded(draw(400, 320), "JPEG", quality=95)
    sizes = {least: load_image(large, least_side=least).size for least in (40, 100, 300)}
    assert sizes == {40: (50, 40), 100: (200, 160), 300: (400, 320)}


def test_draft_is_close_and_leaves_small_images_alone():
    spec = ImageSpec(height=32, width=32)
    large, small = (encoded(draw(*size), "JPEG", quality=95) for size in [(640, 480), (100, 80)])
    assert levels_apart(load_pixels(small, spec, draft=True), load_pixels(small, spec)) == 0
    drafted, full = load_pixels(large, spec, draft=True), load_pixels(large, spec)
    assert drafted.shape == full.shape
    assert 0 < np.abs(drafted.astype(int) - full).mean() < 3


@pytest.mark.parametrize(("mode", "premultiplied"), [("LA", "La"), ("RGBA", "RGBa")])
def test_premultiplied_images_in_memory_are_those_with_an_alpha_channel(mode: str, premultiplied: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8)).convert(mode)
    image.putalpha(255)  # else the products with alpha are rounded
    spec = ImageSpec(height=32, width=32)
    np.testing.assert_array_equal(load_pixels(image.convert(premultiplied), spec), load_pixels(image, spec))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "P", "1", "I;16"])
def test_load_image_gives_rgb(mode):
    file_format = "TIFF" if mode == "CMYK" else "PNG"
    image = Image.new(mode, (6, 5)) if mode == "I;16" else draw(6, 5).convert(mode)
    assert load_image(encoded(image, file_format)).mode == "RGB"


JPEG = encoded(draw(120, 90), "JPEG")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"not an image", "is not an image"),
        (b"<html><body>404</body></html>", "is not an image"),
        (JPEG[: len(JPEG) // 2], "damaged or cut off"),
        (JPEG[:3], "not an image"),
        (encoded(draw(120, 90))[:-200], "damaged or cut off"),
        (encoded(draw(120, 90), "WEBP")[:-200], "damaged or cut off|not an image"),
        (encoded(draw(120, 90), "TIFF")[:-200], "damaged or cut off|not an image"),
        (encoded(draw(120, 90), "BMP")[:-200], "damaged or cut off"),
        (png_header(30_000, 30_000), "limit"),
        (png_header(15_000, 14_000), "15000×14000 pixels; the limit is 200,000,000"),
        (png_header(10_000, 10_000), "damaged or cut off"),
    ],
)
def test_unusable_files_are_refused_in_one_sentence(tmp_path, data, sentence):
    path = tmp_path / "broken.jpg"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(ImageError, match=sentence) as caught:
            load_pixels(source, ImageSpec())
        assert "\n" not in str(caught.value)
        assert ("broken.jpg" if source is path else f"{len(data)} bytes") in str(caught.value)


@pytest.fixture
def started(monkeypatch):
    """The programs that anything tries to start; Pillow believes that Ghostscript is there."""
    calls = []

    def start(command, *_, **__):
        calls.append(command)
        raise OSError("not started")

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    return calls


@pytest.mark.parametrize("file_format", ["EPS", "TGA", "PPM", "PCX", "ICO", "JPEG2000", "SGI"])
def test_other_formats_are_refused_whatever_the_file_is_called(tmp_path, started, file_format):
    """Pillow reads many more, and starts Ghostscript for EPS."""
    path = tmp_path / "x.jpg"
    path.write_bytes(encoded(draw(24, 18), file_format))
    for source in (path, path.read_bytes()):
        for read in (load_image, lambda source: load_pixels(source, ImageSpec(height=8, width=8))):
            with pytest.raises(ImageError, match="is not an image in a format that can be decoded here") as caught:
                read(source)
            assert "\n" not in str(caught.value)
    assert started == []


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "MPO"])
def test_every_format_is_known_by_its_content(tmp_path, file_format):
    """MPO is a JPEG file with further images, as some phones write it."""
    options = {"save_all": True, "append_images": [draw(24, 18, seed=1)]} if file_format == "MPO" else {}
    path = tmp_path / "x.eps"
    path.write_bytes(encoded(draw(24, 18), file_format, **options))
    assert load_image(path).size == (24, 18)


def test_avif_is_opened_where_pillow_has_it(tmp_path):
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    assert load_image(encoded(draw(24, 18), "AVIF")).size == (24, 18)


def test_only_open_image_opens_images():
    """Pillow's own open takes every format."""
    package = Path(mobileclip_kit.__file__).parent
    callers = [path for path in sorted(package.rglob("*.py")) if "Image.open(" in path.read_text(encoding="utf-8")]
    assert callers == [package / "images.py"]
    with pytest.raises(UnidentifiedImageError):
        open_image(io.BytesIO(encoded(draw(24, 18), "EPS")))


def test_images_open_without_any_other_plugin():
    """A fresh process knows the formats at once, and does not load the plugins of others."""
    code = (
        "import io, sys; from PIL import Image; from mobileclip_kit.images import load_image\n"
        "load_image(sys.stdin.buffer.read()); sys.exit('EPS' in Image.OPEN)"
    )
    for file_format in ("JPEG", "TIFF", "WEBP"):
        data = encoded(draw(24, 18), file_format)
        ended = subprocess.run([sys.executable, "-c", code], input=data, cwd=Path(__file__).parent.parent, check=False)
        assert ended.returncode == 0, file_format


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.jpg does not exist"):
        load_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)


def test_a_stricter_limit_is_kept():
    with pytest.raises(ImageError, match="20×10 pixels; the limit is 199 pixels"):
        load_image(encoded(draw(20, 10)), max_pixels=199)


def test_flipped_bytes_never_raise_anything_but_image_errors():
    generator = np.random.default_rng(3)
    for file_format in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
        whole = bytearray(encoded(draw(24, 18).quantize(32) if file_format == "GIF" else draw(24, 18), file_format))
        for _ in range(60):
            data = bytearray(whole)
            for position in generator.integers(0, min(len(data), 400), 4):
                data[position] = generator.integers(0, 256)
            try:
                assert load_pixels(bytes(data), ImageSpec(height=8, width=8)).shape == (8, 8, 3)
            except ImageError:
                continue


def test_pillow_settings_are_as_before_even_with_threads():
    """Pillow's limit is lifted for phone cameras of 200 megapixels while reading, and its warnings are kept in."""
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    data, huge = encoded(draw(60, 40), "JPEG"), png_header(30_000, 30_000)
    failures = []

    def read():
        for _ in range(30):
            load_image(data)
            try:
                load_image(huge)
            except ImageError:
                continue
            failures.append("accepted")

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert limit == Image.MAX_IMAGE_PIXELS < MAX_PIXELS
    assert warnings.filters == filters


def test_list_images_is_recursive_sorted_and_skips_what_is_hidden(tmp_path):
    names = ["b/2.PNG", "b/1.jpeg", "b.jpg", "a.webp", "notes.txt", ".hidden.jpg", ".cache/x.jpg", "b/c/z.tif", "Ä.gif"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = list(list_images(tmp_path))
    expected = ["a.webp", "b/1.jpeg", "b/2.PNG", "b/c/z.tif", "b.jpg", "Ä.gif"]
    assert [path.relative_to(tmp_path).as_posix() for path in found] == expected
    assert found == sorted(found)


def test_list_images_refuses_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="nowhere cannot be listed"):
        list(list_images(tmp_path / "nowhere"))


def test_heic_and_avif_are_decoded_upright():
    pillow_heif = pytest.importorskip("pillow_heif")
    gradient = Image.fromarray(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))).convert("RGB")  # 60×40
    kinds = [(".heic", pillow_heif.from_pillow(gradient).save), (".avif", gradient.save)]
    for suffix, save in kinds if features.check("avif") else kinds[:1]:
        assert suffix in image_suffixes()
        stream = io.BytesIO()
        save(stream, format="HEIF" if suffix == ".heic" else "AVIF", quality=95)
        decoded = np.asarray(load_image(stream.getvalue()), np.int32)
        assert decoded.shape == (40, 60, 3)
        assert np.abs(decoded - np.asarray(gradient, np.int32)).mean() < 4


def test_a_heic_image_without_its_plugin_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r'extra \[heic\]; install it with: pip install -e "\.\[heic\]"'):
        load_image(b"\x00\x00\x00\x1cftypheic" + bytes(100))


def test_images_needs_no_torch():
    code = "import sys, mobileclip_kit.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False).returncode == 0
