"""What a restored pixel of the generator depends on: its receptive field, which decides how images are tiled."""


def multiple(depth: int, patch_size: int = 1) -> int:
    """Returns the stride of the network: it works on images whose sides are multiples of it."""
    return patch_size * 2**depth


def receptive_field(depth: int, patch_size: int = 1) -> tuple[int, int]:
    """Computes the receptive field of the convolutions along one side.

    Counts backwards through the network. The two numbers differ because padding `same` adds its one pixel behind: an
    output 2p of a strided 3x3 convolution depends on the inputs 2p to 2p + 2. A patch depends on other patches as a
    pixel does on other pixels.

    Returns:
        (before, after): the restored pixel p of a local generator (`is_local`) depends on the hazy pixels
        p - before .. p + after, and some p depend on both ends.
    """
    spans = [_span(position, depth) for position in range(2**depth)]
    before = max(position - low for position, (low, _) in enumerate(spans))
    after = max(high - position for position, (_, high) in enumerate(spans))
    return before * patch_size + patch_size - 1, after * patch_size + patch_size - 1


def _span(position, depth):
    """The first and the last position of the input that the output at `position` depends on."""
    low, high, skips = position - 1, position + 1, []  # the head
    for _ in range(depth):
        low, high = low - 1, high + 1  # merge, of the stage below and the skip
        skips.append((low, high))
        low, high = -(-(low - 2) // 2), (high + 1) // 2  # up: 2x2 of its 4x4 taps reach one pixel
    low, high = low - 2, high + 2  # the two MBConvs at the bottom
    for skip_low, skip_high in reversed(skips):
        low, high = min(2 * low, skip_low), max(2 * high + 2, skip_high)
    return low - 1, high + 1  # the stem


def tiling(depth: int, patch_size: int = 1) -> dict[str, int]:
    """Returns the arguments `multiple`, `before` and `after` of `tiles.plan_tiles` and `tiles.smallest_tile`."""
    before, after = receptive_field(depth, patch_size)
    return {"multiple": multiple(depth, patch_size), "before": before, "after": after}


def is_local(*, se_ratio: float, view_size: int = 0) -> bool:
    """Whether each restored pixel depends only on its receptive field, and on no average over the image."""
    return not se_ratio and not view_size


def uses_averages(*, se_ratio: float, view_size: int = 0) -> bool:
    """Whether the network is local but for averages over the image (`averages`), which tiles can be given."""
    return bool(se_ratio) and not view_size
