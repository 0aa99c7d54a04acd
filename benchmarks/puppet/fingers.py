"""Whether the fingers of a puppet's hands can be told apart where the truth shows them."""

import numpy as np

TIPS = slice(4, 21, 4)  # of the 21 points of a hand
CLEAR = 40.0  # levels of 255, as a distance between colours, from which a true gap shows its fingers
SEEN = 0.5  # share of the true contrast


def fingers_seen(result: np.ndarray, truth: np.ndarray, hands: np.ndarray) -> float:
    """Share of a frame's gaps between neighbouring finger tips that can be seen; mean of the frames that show any.

    Frames [T, H, W, 3] uint8; hands [T, 2, 21, 2] as fractions of the picture. A gap is seen where its colour differs
    from its two tips' by at least half of what it does in the truth, and in the same direction. A blot has 0; fingers
    that lie elsewhere have what chance gives. NaN if the truth shows none.
    """
    wanted, found = contrast(truth, hands), contrast(result, hands)
    seen = (found * wanted).sum(axis=-1) >= SEEN * (wanted**2).sum(axis=-1)
    frames = [(one[shown]).mean() for one, shown in zip(seen, gaps_shown(truth, hands), strict=True) if shown.any()]
    return float(np.mean(frames)) if frames else float("nan")


def gaps_shown(truth: np.ndarray, hands: np.ndarray) -> np.ndarray:
    """Which gaps [T, 2, 4] are in the picture, and differ clearly from the tips on both sides."""
    tips, gaps = _tips_and_gaps(hands)
    inside, open_ = (((at >= 0) & (at < 1)).all(axis=-1) for at in (tips, gaps))
    clear = np.linalg.norm(contrast(truth, hands), axis=-1) >= CLEAR
    return inside[:, :, 1:] & inside[:, :, :-1] & open_ & clear


def contrast(frames: np.ndarray, hands: np.ndarray) -> np.ndarray:
    """The colour of two neighbouring tips minus that of the gap between them: [T, 2, 4, 3]."""
    tip, gap = (_colours(frames, points) for points in _tips_and_gaps(hands))
    return (tip[:, :, 1:] + tip[:, :, :-1]) / 2 - gap


def _tips_and_gaps(hands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tips = hands[:, :, TIPS]
    return tips, (tips[:, :, 1:] + tips[:, :, :-1]) / 2


def _colours(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The colour [T, 2, n, 3] of the pixel at each of points [T, 2, n, 2]; of the nearest, if outside."""
    height, width = frames.shape[1:3]
    x, y = (np.clip((points[..., i] * size).astype(int), 0, size - 1) for i, size in enumerate((width, height)))
    return frames[np.arange(len(frames))[:, None, None], y, x].astype(float)
