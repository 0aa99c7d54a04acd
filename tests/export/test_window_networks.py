"""A window of the decoder whose norms are given: what is exact about it, in float64."""

import numpy as np
import paddle
import pytest
from network_checks import fill

from sa.benchmarks.fixtures.recipe import tensor
from sa.export.checkpoint.architecture import VaeConfig
from sa.export.engines.window_roles import first_in_window
from sa.export.networks.layers import GroupNorm
from sa.export.networks.vae import VaeDecoder
from sa.export.networks.window import SegmentNorms, WindowSegment

FRAMES, HEIGHT, WIDTH = 2, 3, 56  # latents
LEFT, RIGHT = 8, 46  # the window's ends along the width
# Latents from a border that it reaches: two 3x3 convolutions in each block, one after each enlargement, one at the end.
REACH = {1: 4 + 5 / 2 + 5 / 4 + 6 / 8, 2: 4 + 6 + 7 / 2 + 7 / 4 + 8 / 8}


@pytest.fixture(scope="module", params=[1, 2])
def decoder(request):
    config = VaeConfig(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=request.param,
        latent_channels=4,
        in_channels=3,
        out_channels=3,
        scaling_factor=0.2,
    )
    made = fill(VaeDecoder(config), lambda name, shape: tensor(name, shape, "vae")).to(dtype="float64")
    for parameter in made.parameters():
        parameter.stop_gradient = True
    return made


@pytest.fixture(scope="module")
def latents():
    return np.random.default_rng(0).standard_normal((FRAMES, 4, HEIGHT, WIDTH))


def before(decoder, latents):
    """What goes into the first segment of the window, of the whole frame."""
    x = latents
    for segment in decoder.segments()[: first_in_window(decoder.segments())]:
        x = segment.run(x)
    return x


def by_frame(call, segment, x, *norms):
    """A segment's result, frame by frame if it is so."""
    if not segment.by_frame:
        return call(x, *norms)
    results = [call(x[f : f + 1], *(table[f : f + 1] for table in norms)) for f in range(FRAMES)]
    if isinstance(results[0], tuple):
        return tuple(paddle.concat(parts) for parts in zip(*results, strict=True))
    return paddle.concat(results)


def after(decoder, x, norms, part=slice(None)):
    """The other segments with given norms, on a part of the width."""
    first = first_in_window(decoder.segments())
    x = x[:, :, :, part]
    for i, segment in enumerate(decoder.segments()[first:], first):
        x = by_frame(WindowSegment(decoder, i), segment, x, *([norms[i]] if i in norms else []))
    return x


def norms_of(decoder, latents):
    """By segment. Each finds those of its own input, which is the whole decoder's."""
    first, found = first_in_window(decoder.segments()), {}
    with paddle.no_grad():
        x = before(decoder, paddle.to_tensor(latents))
        for i, segment in enumerate(decoder.segments()[first:], first):
            if segment.norms:
                y, found[i] = by_frame(SegmentNorms(decoder, i), segment, x)
                np.testing.assert_allclose(y.numpy(), segment.run(x).numpy(), rtol=1e-9, atol=1e-9)
            x = segment.run(x)
    return found


def inside(decoder) -> tuple[slice, slice]:
    """The pixels of the frame that no border of the window reaches, and the same in the window."""
    layers = len(decoder.decoder.up_blocks[0].resnets) - 1
    margin = int(np.ceil(8 * REACH[layers]))
    left, right = 8 * LEFT + margin, 8 * RIGHT - margin
    assert right - left >= 24
    return slice(left, right), slice(left - 8 * LEFT, right - 8 * LEFT)


def test_with_the_norms_of_the_frame_itself_it_is_the_decoder(decoder, latents):
    given = norms_of(decoder, latents)
    with paddle.no_grad():
        x = paddle.to_tensor(latents)
        found, truth = after(decoder, before(decoder, x), given).numpy(), decoder(x).numpy()
    np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-9 * np.abs(truth).max())


def test_what_no_border_reaches_is_exact(decoder, latents):
    given = norms_of(decoder, latents)
    with paddle.no_grad():
        x = paddle.to_tensor(latents)
        window, truth = after(decoder, before(decoder, x), given, slice(LEFT, RIGHT)).numpy(), decoder(x).numpy()
    frame, part = inside(decoder)
    scale = np.abs(truth).max()
    np.testing.assert_allclose(window[..., part], truth[..., frame], rtol=1e-9, atol=1e-9 * scale)
    assert np.abs(window - truth[..., 8 * LEFT : 8 * RIGHT]).max() > 1e-6 * scale  # the borders are not


def gradient(decoder, latents, of):
    """Of a fixed sum over the pixels inside, by the latents."""
    x = paddle.to_tensor(latents, stop_gradient=False)
    pixels = of(x)
    weights = np.random.default_rng(1).standard_normal(pixels.shape)
    (found,) = paddle.grad((pixels * paddle.to_tensor(weights)).sum(), x)
    return found.numpy()


def test_the_gradient_is_exact_but_for_what_the_norms_pass_on(decoder, latents):
    """Of a loss that sees what no border reaches: the whole decoder's, with its norms held."""
    given = norms_of(decoder, latents)
    frame, part = inside(decoder)
    found, held, free = (
        gradient(decoder, latents, of)
        for of in (
            lambda x: after(decoder, before(decoder, x), given, slice(LEFT, RIGHT))[..., part],
            lambda x: after(decoder, before(decoder, x), given)[..., frame],
            lambda x: decoder(x)[..., frame],
        )
    )
    np.testing.assert_allclose(found, held, rtol=1e-8, atol=1e-9 * np.abs(held).max())
    cosine = np.vdot(found, free) / np.linalg.norm(found) / np.linalg.norm(free)
    assert 0.7 < cosine < 1 - 1e-6  # norms of so few channels and pixels pass on much


@pytest.mark.parametrize("shape", [(2, 64, 5, 7), (1, 32, 2, 6)])
def test_a_norm_is_the_line_of_each_channel(shape):
    x = np.random.default_rng(2).standard_normal(shape) * 3 + 20
    norm = fill(GroupNorm(shape[1], 1e-5), lambda name, s: tensor(name, s, "norm")).to(dtype="float64")
    with paddle.no_grad():
        given = paddle.to_tensor(x)
        scale, shift = norm.line([given])
        halves = norm.line([given[..., : shape[3] // 2], given[..., shape[3] // 2 : shape[3] // 2 * 2]])
        found = given * scale.unsqueeze([2, 3]) + shift.unsqueeze([2, 3])
        if shape[3] % 2 == 0:
            for whole, parts in zip((scale, shift), halves, strict=True):
                np.testing.assert_allclose(parts.numpy(), whole.numpy(), rtol=1e-9)
        assert list(scale.shape) == list(shift.shape) == list(shape[:2])
        np.testing.assert_allclose(found.numpy(), norm(given).numpy(), rtol=1e-9, atol=1e-9)
