"""Rendering of pages: the templates of ``templates/``, and figures embedded in them."""

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from jinja2 import Environment
    from PIL import Image

CSS_DPI = 125  # CSS pixels per inch of a printed figure: a third larger than print, to be read on a screen
PNG = b"\x89PNG\r\n\x1a\n"
SHARP, TALLEST = 2, 10  # most pixels of an embedded picture along and across, as multiples of its CSS width
QUALITY = {"webp": 75, "jpeg": 80}  # of embedded pictures: at these both look alike
NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Picture:
    """An embedded figure: its name, caption, size on the page [CSS pixels] and ``data:`` address.

    ``alt`` is the alternative text for screen readers: the caption, if nothing more is known.
    """

    name: str
    caption: str
    width: int
    height: int
    address: str
    alt: str


def render(template: str, content: Mapping[str, Any]) -> bytes:
    """Fill a template; all values are escaped.

    Args:
        template: A file of this folder, such as ``report.html.j2``.
        content: Values that it shows, by name.

    Returns:
        The page as UTF-8.
    """
    return _templates().get_template(template).render(content).encode(errors="replace")


@cache
def _templates() -> "Environment":
    """Return the environment of all pages, which compiles each template once."""
    from jinja2 import Environment, FileSystemLoader

    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["absent"] = NOT_RECORDED
    return found


def pictures(
    folder: Path, caption: Callable[[str], str], alt: Callable[[str], str] | None = None
) -> dict[str, Picture]:
    """Embed the PNG files of a folder, by name; a file that is not PNG is skipped.

    Args:
        folder: Folder of the figures; it may be missing.
        caption: Function that returns the text below a picture from its name.
        alt: Function that returns the alternative text of a picture from its name; the caption by default.

    Returns:
        The pictures in the order of their names.
    """
    found = {}
    for path in sorted(folder.glob("*.png")):
        content = path.read_bytes()
        if not content.startswith(PNG):
            continue
        address = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        text = caption(path.stem)
        alternative = alt(path.stem) if alt else text
        found[path.stem] = Picture(path.stem, text, *_size(content), address, alternative)
    return found


def _size(content: bytes) -> tuple[int, int]:
    """Return width and height on the page [CSS pixels], from the pixels and their density on paper."""
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))  # chunk IHDR
    start = content.find(b"pHYs", 0, 4096) + 4
    density = int.from_bytes(content[start : start + 4], "big") if start > 3 else 0  # [pixels per metre]
    scale = CSS_DPI / (density * 0.0254) if density else 1.0
    return round(width * scale), round(height * scale)


def photograph(path: Path, width: int, caption: str = "", alt: str = "") -> Picture:
    """Embed a picture as WebP, not wider than needed: of a photograph a small part of the bytes of its PNG.

    Args:
        path: PNG or JPEG file.
        width: Largest width on the page [CSS pixels]; the pixels are twice as many, for sharp screens.
        caption: Text below the picture.
        alt: Alternative text; the caption by default.
    """
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((SHARP * width, TALLEST * width), Image.Resampling.LANCZOS)
    return _encoded(image, width, path.stem, caption, alt or caption, "webp")


def embedded(pixels: "np.ndarray", width: int, name: str, alt: str) -> Picture:
    """Embed one of many pictures as JPEG, in a tenth of the time of WebP; see `photograph`.

    A large picture is averaged in blocks to less than twice the wanted size, and interpolated to that.

    Args:
        pixels: uint8 (H, W) or (H, W, 3).
        width: Largest width on the page [CSS pixels].
        name: Name of the picture.
        alt: Alternative text.
    """
    import cv2
    import numpy as np
    from PIL import Image

    image = Image.fromarray(pixels)
    factor = max(image.width / (SHARP * width), image.height / (TALLEST * width))
    if factor > 1:
        size = [max(1, round(side / factor)) for side in image.size]
        blocks = np.asarray(image.reduce(int(factor)))
        image = Image.fromarray(cv2.resize(blocks, size, interpolation=cv2.INTER_LINEAR))
    return _encoded(image, width, name, "", alt, "jpeg")


def stored(content: bytes, width: int, name: str, alt: str) -> Picture:
    """Embed a picture that is JPEG already.

    Args:
        content: The file.
        width: Longer side on the page [CSS pixels].
        name: Name of the picture.
        alt: Alternative text.
    """
    from PIL import Image

    with Image.open(io.BytesIO(content)) as opened:
        size = opened.size
    scale = min(1.0, width / max(size))
    address = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    return Picture(name, "", round(size[0] * scale), round(size[1] * scale), address, alt)


def printed(path: Path, dpi: int, caption: str) -> Picture:
    """Embed a figure that is WebP already.

    Args:
        path: The file.
        dpi: Its pixels per inch in print.
        caption: Text below it, which is its alternative text too.
    """
    from PIL import Image

    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as opened:
        width, height = (round(side * CSS_DPI / dpi) for side in opened.size)
    address = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    return Picture(path.stem, caption, width, height, address, caption)


def _encoded(image: "Image.Image", width: int, name: str, caption: str, alt: str, kind: str) -> Picture:
    content = io.BytesIO()
    image.save(content, format=kind, quality=QUALITY[kind])
    scale = min(1.0, width / image.width)
    address = f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
    return Picture(name, caption, round(image.width * scale), round(image.height * scale), address, alt)
