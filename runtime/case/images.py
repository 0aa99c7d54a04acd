"""Image preprocessing as in the published pipeline, in NumPy and Pillow (docs/model.md, sections 2 and 9)."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sa.runtime.errors import InputError
from sa.runtime.system.regular_files import require_regular

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF")  # whatever the suffix says; some others start programs
EXPECTED = "a PNG, JPEG, WebP, BMP, TIFF or AVIF"
# Other pictures, which must not be passed over in silence where pictures are looked for.
OTHER_SUFFIXES = (".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".ppm", ".psd", ".svg", ".tga", ".exr", ".dng")
CONVERT = "convert it to PNG or JPEG"
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

# Phones take photos of 200 megapixels. Pillow's own bound, which it warns at, is below that.
PIXELS = 16384 * 12288
Image.MAX_IMAGE_PIXELS = PIXELS


def read_image(path: Path) -> Image.Image:
    """The image in `path`, upright (EXIF applied once), as RGB on white; InputError unless it is decoded completely."""
    return on_ground(load_image(path), WHITE).convert("RGB")


def load_image(path: Path) -> Image.Image:
    """The image in `path`, upright, with its own channels of 8 bits; InputError as `read_image` says."""
    require_regular(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                # Some phones' JPEGs hold further pictures, such as one of depths. The first is the photo.
                frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
                if frames == 1:
                    image.load()
                    upright = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise InputError(_no_image(path)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{path} has more than {PIXELS:,} pixels; give a smaller image.") from None
    except Exception as error:  # damaged files raise errors of nearly any type
        if isinstance(error, OSError) and error.errno:
            raise InputError(f"{path} cannot be read ({error.strerror}); expected an image file, replace it.") from None
        raise InputError(f"{path} is damaged or cut short; expected a whole image, replace it.") from None
    if frames > 1:
        raise InputError(f"{path} holds {frames} pictures, as animations do; expected a single one, save it as a PNG.")
    if upright.mode in ("I;16", "I;16B", "I;16L", "I"):  # 16-bit grey, which Pillow would clip at 255, not scale
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return upright


def on_ground(image: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    """The image over a plain colour; unchanged if it has no transparency."""
    if not image.has_transparency_data:
        return image
    over = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, (*ground, 255)), over)


def is_transparent(image: Image.Image) -> bool:
    """Whether any pixel lets the ground through."""
    if not image.has_transparency_data:
        return False
    least, _ = image.convert("RGBA").getchannel("A").getextrema()
    return bool(np.less(least, 255))


def _no_image(path: Path) -> str:
    """What is said of a file that is none of FORMATS: by its first bytes, what it is instead."""
    with path.open("rb") as file:
        head = file.read(16)
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"):
        return f"{path} is an HEIC photo, which is not read; {CONVERT}."
    if head[:4] == b"GIF8":
        return f"{path} is a GIF, which is not read; {CONVERT}."
    return f"{path} is not an image that can be read; expected {EXPECTED}."


def to_unit_range(image: Image.Image) -> np.ndarray:
    """RGB image -> [1, 3, H, W] float32 in 0..1."""
    pixels = np.asarray(image, dtype=np.float32) / np.float32(255.0)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def reference_pixels(reference: Image.Image, height: int, width: int) -> np.ndarray:
    """The reference stretched to the output size (Lanczos) -> [1, 3, H, W] float32 in -1..1."""
    return to_unit_range(reference.resize((width, height), Image.Resampling.LANCZOS)) * 2 - 1


def pose_pixels(pose: Image.Image, height: int, width: int) -> np.ndarray:
    """A pose stretched to the output size (antialiased bicubic) -> [1, 3, H, W] float32 in -1..1."""
    resized = pose.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(resized, dtype=np.float32) / np.float32(127.5) - 1
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def clip_pixels(
    reference: Image.Image, size: int, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> np.ndarray:
    """The reference as the image encoder sees it -> [1, 3, size, size] float32, normalised.

    The published resize (docs/model.md, section 2.2) is a Gaussian blur, which matters only when shrinking, followed by
    bicubic interpolation with aligned corners. Both are linear and separable, so each axis is one matrix. Values may
    leave 0..1; they are not clipped.
    """
    pixels = (to_unit_range(reference) * 2 - 1).astype(np.float64)
    height, width = pixels.shape[2:]
    pixels = resize_matrix(height, size) @ pixels @ resize_matrix(width, size).T
    pixels = (pixels + 1) / 2
    mean_, std_ = (np.asarray(values).reshape(1, 3, 1, 1) for values in (mean, std))
    return ((pixels - mean_) / std_).astype(np.float32)


def resize_matrix(size: int, out: int) -> np.ndarray:
    """[out, size]: blur and interpolation along one axis."""
    return _bicubic_matrix(size, out) @ _blur_matrix(size, out)


def _blur_matrix(size: int, out: int) -> np.ndarray:
    """[size, size]: Gaussian whose width follows the shrink factor, borders reflected (the edge pixel not repeated)."""
    factor = size / out
    sigma = max((factor - 1) / 2, 0.001)
    taps = int(max(4 * sigma, 3))
    half = (taps + (taps + 1) % 2) // 2
    offsets = np.arange(-half, half + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    matrix = np.zeros((size, size))
    rows = np.arange(size)
    for offset, weight in zip(offsets, kernel, strict=True):
        source = np.abs(rows + offset)  # reflect at the first pixel ...
        source = size - 1 - np.abs(size - 1 - source)  # ... and at the last
        np.add.at(matrix, (rows, source), weight)
    return matrix


def _bicubic_matrix(size: int, out: int) -> np.ndarray:
    """[out, size]: cubic convolution with a = -0.75, corners aligned, borders repeated, no antialiasing."""
    a = -0.75
    position = np.arange(out) * ((size - 1) / (out - 1))
    base = np.floor(position).astype(int)
    matrix = np.zeros((out, size))
    for tap in range(-1, 3):
        distance = np.abs(position - (base + tap))
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = a * (((distance - 5) * distance + 8) * distance - 4)
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
        np.add.at(matrix, (np.arange(out), np.clip(base + tap, 0, size - 1)), weight)
    return matrix


def frames_to_bytes(frames: np.ndarray) -> np.ndarray:
    """Decoded frames [n, 3, H, W] float32, nominally -1..1 -> [n, H, W, 3] uint8, rounded half to even."""
    levels = np.clip(frames / 2 + 0.5, 0, 1) * 255
    return np.ascontiguousarray(np.rint(levels).astype(np.uint8).transpose(0, 2, 3, 1))
