"""Smears drawn by code. They look stained, and they say in the picture that they are not: no claim rests on them."""

import io
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WIDTH, HEIGHT = 800, 600
CAPTION = "SYNTHETIC"
OVERSAMPLING = 2

GLASS = (236, 229, 226)
ERYTHROCYTE, PALLOR = (214, 165, 165), (228, 196, 192)
CYTOPLASM, NUCLEUS, NUCLEOLUS = (150, 146, 206), (99, 54, 140), (134, 92, 172)
PLATELET = (150, 100, 165)

Point = tuple[float, float]


def draw_smear(seed: int, *, lymphoblasts: int, out_of_focus: bool = False) -> bytes:
    """A JPEG of one field, the same for the same arguments."""
    generator = np.random.default_rng(seed)
    canvas = Image.new("RGB", (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING), GLASS)
    draw = ImageDraw.Draw(canvas)
    centres = list(_scattered(generator, lymphoblasts))
    for centre in _scattered(generator, int(generator.integers(70, 100)), apart=44.0):
        _erythrocyte(draw, centre, generator)
    for centre in _scattered(generator, int(generator.integers(4, 12)), apart=60.0):
        _platelet(draw, centre, generator)
    for centre in centres:
        _lymphoblast(draw, centre, generator)
    picture = canvas.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    picture = picture.filter(ImageFilter.GaussianBlur(9.0 if out_of_focus else 0.7))
    return _jpeg(_caption(_light_and_noise(picture, generator)))


def _scattered(generator: np.random.Generator, count: int, apart: float = 92.0) -> Iterator[Point]:
    """Points not too close to one another; fewer where there is no room."""
    taken: list[Point] = []
    for _ in range(count * 12):
        if len(taken) == count:
            return
        x, y = generator.uniform((0, 0), (WIDTH, HEIGHT))
        if all(math.dist((x, y), other) > apart for other in taken):
            taken.append((x, y))
            yield (x, y)


def _outline(centre: Point, radius: float, uneven: float, generator: np.random.Generator) -> list[Point]:
    """A closed line that is nearly a circle, as nothing in a cell is one."""
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    phases = generator.uniform(0, 2 * math.pi, 4)
    wobble = np.sum([uneven / order * np.sin(order * angles + phases[order - 2]) for order in range(2, 6)], axis=0)
    radii = radius * (1 + wobble) * OVERSAMPLING
    x, y = centre[0] * OVERSAMPLING, centre[1] * OVERSAMPLING
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _shade(colour: tuple[int, int, int], generator: np.random.Generator, spread: float = 6.0) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.array(colour) + generator.normal(0, spread), 0, 255).astype(int).tolist()
    return red, green, blue


def _erythrocyte(draw: ImageDraw.ImageDraw, centre: Point, generator: np.random.Generator) -> None:
    radius = generator.uniform(21, 26)
    draw.polygon(_outline(centre, radius, 0.04, generator), fill=_shade(ERYTHROCYTE, generator))
    for share in (0.55, 0.42, 0.3):
        mixed = [round(e + (p - e) * (1 - share)) for e, p in zip(ERYTHROCYTE, PALLOR, strict=True)]
        draw.polygon(_outline(centre, radius * share, 0.05, generator), fill=(mixed[0], mixed[1], mixed[2]))


def _platelet(draw: ImageDraw.ImageDraw, centre: Point, generator: np.random.Generator) -> None:
    draw.polygon(_outline(centre, generator.uniform(4, 8), 0.2, generator), fill=_shade(PLATELET, generator, 10))


def _lymphoblast(draw: ImageDraw.ImageDraw, centre: Point, generator: np.random.Generator) -> None:
    """A large nucleus with fine chromatin and a nucleolus or two, and little cytoplasm."""
    radius = generator.uniform(29, 38)
    draw.polygon(_outline(centre, radius * 1.2, 0.05, generator), fill=_shade(CYTOPLASM, generator))
    x, y = centre[0] + generator.normal(0, 2), centre[1] + generator.normal(0, 2)
    draw.polygon(_outline((x, y), radius, 0.06, generator), fill=_shade(NUCLEUS, generator))
    for _ in range(36):
        angle, reach = generator.uniform(0, 2 * math.pi), radius * 0.85 * math.sqrt(generator.uniform())
        speck = (x + reach * math.cos(angle), y + reach * math.sin(angle))
        draw.polygon(_outline(speck, generator.uniform(1, 3.5), 0.2, generator), fill=_shade(NUCLEUS, generator, 16))
    for _ in range(int(generator.integers(0, 3))):
        spot = (x + generator.normal(0, radius / 3), y + generator.normal(0, radius / 3))
        draw.polygon(_outline(spot, generator.uniform(4, 6), 0.1, generator), fill=_shade(NUCLEOLUS, generator))


def _light_and_noise(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Uneven light over the field and the camera's noise."""
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    light = 1 - 0.05 * (rows**2 + columns**2) / 2
    pixels = np.asarray(picture, np.float32) * light[..., None] + generator.normal(0, 3.0, (HEIGHT, WIDTH, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _caption(picture: Image.Image) -> Image.Image:
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=15)
    left, top, right, bottom = draw.textbbox((WIDTH - 8, HEIGHT - 6), CAPTION, font=font, anchor="rb")
    draw.rectangle((left - 4, top - 3, right + 4, bottom + 3), fill=(250, 248, 246))
    draw.text((WIDTH - 8, HEIGHT - 6), CAPTION, font=font, anchor="rb", fill=(60, 40, 80))
    return picture


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
