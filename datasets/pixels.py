"""The content of an image file as pixels: the same for training and for a model that is served."""

import io

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from datasets.choices import Resize

EXIF_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The inverse of each EXIF orientation, in which a camera records how it was held."""


CROP_MARGIN = 1 / 16
"""Fraction of a photograph that a crop leaves out on each side: 224 of 256 pixels stay."""


class UnreadableImage(ValueError):  # noqa: N818, the name is clear
    """The file is not an image, or an incomplete one; the message is the reason, in one line."""


def read_pixels(content: bytes, size: int, resize: Resize) -> np.ndarray:
    """Return an image as (size, size, 3) uint8, RGB, upright, transparent pixels on white.

    Args:
        content: of a file in any format that PIL reads.
        size: width and height in pixels to which it is resized.
        resize: squish: the whole image, whatever its aspect ratio, which could hide an animal at
            the edge otherwise; crop: the middle square, less a margin of 1/16 on each side, as
            backbones are evaluated on ImageNet.

    Raises:
        UnreadableImage: it is none.

    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _square(image, size, resize)
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("not an image" if content else "empty file") from None
    except Exception as error:  # PIL raises many kinds of errors on a damaged image
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(reason) from error


def _square(image: Image.Image, size: int, resize: Resize) -> np.ndarray:
    """Return an opened image as (size, size, 3) uint8."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise UnreadableImage(f"{image.width} x {image.height} pixels; at most {limit:,}")
    if image.format == "EPS":
        raise UnreadableImage("PostScript is not supported")
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, which is faster. Twice the final size
    # leaves enough detail for the filter below.
    image.draft(None, (2 * size, 2 * size))
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    image = _to_rgb(image)
    if resize == "crop":
        square = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC, bleed=CROP_MARGIN)
    else:
        square = image.resize((size, size), Image.Resampling.LANCZOS)
    # PIL's own `exif_transpose` rewrites the EXIF data, which fails if any other tag is damaged.
    turn = EXIF_TRANSPOSE.get(orientation)
    return np.array(square if turn is None else square.transpose(turn))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels are not supported: their range is unknown")
    if image.mode.startswith("I"):  # 16 bits, which PIL would clip at 255 rather than scale
        grey = (np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
