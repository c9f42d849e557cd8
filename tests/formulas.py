"""Formulas for the floating-point operations of the networks, to compare counts with."""


def generator_flops(width, depth, height, side):
    """{layer: operations} of the generator for one image."""

    def conv(pixels, size, channels, filters):
        return 2 * pixels * size * size * channels * filters

    def mbconv(pixels, channels, filters, stride):
        wide, below, squeezed = 4 * channels, pixels // stride**2, max(8, channels // 4)
        return (
            conv(pixels, 1, channels, wide)
            + 2 * below * 9 * wide
            + 2 * conv(1, 1, wide, squeezed)
            + conv(below, 1, wide, filters)
        )

    height, side = (-(-x // 2**depth) * 2**depth for x in (height, side))
    pixels = height * side
    channels, skips = width // 2, []
    found = {"stem": conv(pixels, 3, 3, channels)}
    for i in range(depth):
        filters, skips = width * min(2**i, 8), [*skips, channels]
        found[f"encoder_{i}"] = (
            conv(pixels // 4, 3, channels, filters)
            + mbconv(pixels, channels, filters, 2)
            + conv(pixels // 4, 1, 2 * filters, filters)
        )
        pixels, channels = pixels // 4, filters
    found["bottom"] = 2 * mbconv(pixels, channels, channels, 1)
    for i in reversed(range(depth)):
        # A transposed convolution multiplies every input pixel with every tap once.
        found[f"decoder_{i}"] = conv(pixels, 4, channels, skips[i]) + conv(4 * pixels, 3, 2 * skips[i], skips[i])
        pixels, channels = 4 * pixels, skips[i]
    return found | {"head": conv(pixels, 3, channels, 3)}


def discriminator_flops(width, side):
    """[operations of each layer] of the discriminator for one pair."""
    found, channels = [], 6
    for filters, stride in ((1, 2), (2, 2), (4, 2), (8, 2), (8, 1), (0, 1)):
        side, filters = -(-side // stride), filters * width or 1
        found.append(2 * side * side * 16 * channels * filters)
        channels = filters
    return found


def step_flops(config):
    """Operations of the training step for one image, without a perceptual network."""
    model, side = config.model, config.data.crop_size
    generator = generator_flops(model.width, model.depth, side, side)
    discriminator = discriminator_flops(model.disc_width, side)
    # Each convolution has two gradients of the same cost; that of the hazy image is not computed.
    of_generator = 3 * sum(generator.values()) - generator["stem"]
    # For real and fake: forward and the two gradients of its own loss. For fake alone: the input gradient of the
    # generator's loss.
    return of_generator + 2 * (3 * sum(discriminator) - discriminator[0]) + sum(discriminator)
