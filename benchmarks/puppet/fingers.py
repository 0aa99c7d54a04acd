"""Whether the fingers of a puppet's hands can be told apart where the truth shows them."""

import numpy as np

TIPS = slice(4, 21, 4)  # of the 21 points of a hand
CLEAR = 40.0  # levels of 255, as a distance between colours, from which a true gap shows its fingers
SEEN = 0.5  # share of the true contrast


def fingers_seen(result: np.ndarray, truth: np.ndarray, hands: np.ndarray) -> float:
    """Share of the gaps between neighbouring finger tips that can be seen; NaN if the truth shows none.

    Frames [T, H, W, 3] uint8; hands [T, 2, 21, 2] as fractions of the picture. A gap is seen where its colour differs
    from its two tips' by at least half of what it does in the truth, and in the same direction. So a blot has 0, and so
    have fingers that lie elsewhere.
    """
    tips = hands[:, :, TIPS]
    gaps = (tips[:, :, 1:] + tips[:, :, :-1]) / 2
    inside = [((at >= 0) & (at < 1)).all(axis=-1) for at in (tips, gaps)]
    within = inside[0][:, :, 1:] & inside[0][:, :, :-1] & inside[1]

    def contrast(frames: np.ndarray) -> np.ndarray:
        tip, gap = _colours(frames, tips), _colours(frames, gaps)
        return (tip[:, :, 1:] + tip[:, :, :-1]) / 2 - gap

    wanted, found = contrast(truth), contrast(result)
    shown = within & (np.linalg.norm(wanted, axis=-1) >= CLEAR)
    if not shown.any():
        return float("nan")
    wanted, found = wanted[shown], found[shown]
    return float(((found * wanted).sum(axis=-1) >= SEEN * (wanted**2).sum(axis=-1)).mean())


def _colours(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The colour [T, 2, n, 3] of the pixel at each of points [T, 2, n, 2]; of the nearest, if outside."""
    height, width = frames.shape[1:3]
    x, y = (np.clip((points[..., i] * size).astype(int), 0, size - 1) for i, size in enumerate((width, height)))
    return frames[np.arange(len(frames))[:, None, None], y, x].astype(float)
