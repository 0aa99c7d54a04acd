"""Reads the photo: upright, in RGB, on a ground where it is transparent."""

from pathlib import Path

from PIL import Image

from sa.runtime.case.images import is_transparent, load_image, on_ground


def read_photo(path: Path, ground: tuple[int, int, int], upstream: bool, warnings: list[str]) -> Image.Image:
    """The photo as RGB. `upstream` shows the colours that transparency hides, as published; InputError for no image."""
    photo = load_image(path)
    if is_transparent(photo):
        behind = f"the colour {ground} is put behind it; --background chooses another"
        warnings.append(f"{path} is transparent in part: {'hidden colours are shown' if upstream else behind}.")
    return photo.convert("RGB") if upstream else on_ground(photo, ground).convert("RGB")
