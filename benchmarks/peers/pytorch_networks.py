"""HazeHeal's networks in PyTorch, written as a PyTorch user would: NCHW, explicit padding sizes.

The attributes have the names of HazeHeal's variables (`encoder_0/mbconv/expand/kernel` is
`encoder_0.mbconv.expand.weight`), so that `pytorch_equality.py` can copy weights by name.

There is one difference. At a stride of 2, PyTorch's `padding=1` pads the top and the left, but TensorFlow's `same` pads the
bottom and the right. Explicit padding would cost PyTorch a copy of every feature map. With kernels and images rotated by 180
degrees both are the same network. The equality check uses this.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

_VGG_BLOCKS = ((64, 2), (128, 2), (256, 3))
_IMAGENET_BGR_MEAN = (103.939, 116.779, 123.68)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each pixel. In channels_last the two permutations cost nothing."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def make_norm(kind, channels):
    """A layer norm, or nothing for the kind `none`."""
    return LayerNorm2d(channels, eps=1e-6) if kind == "layer" else nn.Identity()


class SqueezeExcite(nn.Module):
    def __init__(self, channels, squeezed):
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.expand(F.silu(self.reduce(F.adaptive_avg_pool2d(x, 1)))))


class MBConv(nn.Module):
    def __init__(self, channels, filters, *, stride, norm, se_ratio):
        super().__init__()
        wide = 4 * channels
        self.expand = nn.Conv2d(channels, wide, 1)
        self.expand_norm = make_norm(norm, wide)
        self.depthwise = nn.Conv2d(wide, wide, 3, stride=stride, padding=1, groups=wide)
        self.depthwise_norm = make_norm(norm, wide)
        self.gate = SqueezeExcite(wide, max(8, int(channels * se_ratio))) if se_ratio else nn.Identity()
        self.project = nn.Conv2d(wide, filters, 1)
        self.project_norm = make_norm(norm, filters)
        self.residual = stride == 1 and filters == channels

    def forward(self, inputs):
        x = F.silu(self.expand_norm(self.expand(inputs)))
        x = F.silu(self.depthwise_norm(self.depthwise(x)))
        x = self.project_norm(self.project(self.gate(x)))
        return inputs + x if self.residual else x


class EncoderStage(nn.Module):
    def __init__(self, channels, filters, *, norm, se_ratio):
        super().__init__()
        self.strided = nn.Conv2d(channels, filters, 3, stride=2, padding=1)
        self.strided_norm = make_norm(norm, filters)
        self.mbconv = MBConv(channels, filters, stride=2, norm=norm, se_ratio=se_ratio)
        self.fuse = nn.Conv2d(2 * filters, filters, 1)

    def forward(self, x):
        a = F.silu(self.strided_norm(self.strided(x)))
        return F.silu(self.fuse(torch.cat([a, self.mbconv(x)], 1)))


class DecoderStage(nn.Module):
    def __init__(self, channels, filters, *, norm):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, filters, 4, stride=2, padding=1)
        self.up_norm = make_norm(norm, filters)
        self.merge = nn.Conv2d(2 * filters, filters, 3, padding=1)
        self.merge_norm = make_norm(norm, filters)

    def forward(self, x, skip):
        x = F.relu(self.up_norm(self.up(x)))
        return F.relu(self.merge_norm(self.merge(torch.cat([x, skip], 1))))


class Generator(nn.Module):
    """[B, 3, H, W] in [-1, 1] to the same shape and range; the sides must be multiples of 2^depth."""

    def __init__(self, *, width=64, depth=5, norm="layer", output="residual", se_ratio=0.25):
        super().__init__()
        self.depth, self.output = depth, output
        channels = [width // 2, *(width * min(2**i, 8) for i in range(depth))]
        self.stem = nn.Conv2d(3, channels[0], 3, padding=1)
        for i in range(depth):
            stage = EncoderStage(channels[i], channels[i + 1], norm=norm, se_ratio=se_ratio)
            self.add_module(f"encoder_{i}", stage)
            self.add_module(f"decoder_{i}", DecoderStage(channels[i + 1], channels[i], norm=norm))
        for i in range(2):
            block = MBConv(channels[-1], channels[-1], stride=1, norm=norm, se_ratio=se_ratio)
            self.add_module(f"bottom_{i}", block)
        self.head = nn.Conv2d(channels[0], 6 if output == "scattering" else 3, 3, padding=1)

    def forward(self, hazy):
        x, skips = F.silu(self.stem(hazy)), []
        for i in range(self.depth):
            skips.append(x)
            x = self.get_submodule(f"encoder_{i}")(x)
        x = self.bottom_1(self.bottom_0(x))
        for i in reversed(range(self.depth)):
            x = self.get_submodule(f"decoder_{i}")(x, skips[i])
        x = self.head(x).float()
        if self.output == "residual":
            return hazy + x
        k, b = x.chunk(2, dim=1)
        return hazy + k * hazy - b


class Discriminator(nn.Module):
    """(hazy, image), each [B, 3, H, W], to logits [B, 1, H / 16, W / 16]."""

    def __init__(self, *, width=64):
        super().__init__()
        sizes = [6, width, 2 * width, 4 * width, 8 * width, 8 * width, 1]
        for i in range(6):
            # The last two layers keep the size of their maps: 3 pixels of padding for a kernel of 4.
            stride, padding = (2, 1) if i < 4 else (1, 0)
            layer = nn.Conv2d(sizes[i], sizes[i + 1], 4, stride=stride, padding=padding)
            self.add_module(f"conv_{i}" if i < 5 else "logits", spectral_norm(layer))
        self.pad = nn.ZeroPad2d((2, 1, 2, 1))

    def forward(self, hazy, image):
        x = torch.cat([hazy, image], 1)
        for i in range(4):
            x = F.leaky_relu(self.get_submodule(f"conv_{i}")(x), 0.2)
        x = F.leaky_relu(self.conv_4(self.pad(x)), 0.2)
        return self.logits(self.pad(x))


class Perceptual(nn.Module):
    """VGG19 up to block3_conv3, frozen: [B, 3, H, W] in [-1, 1] to [B, 256, H / 4, W / 4].

    Args:
        weights: Path of an .npz that contains `block1_conv1/kernel` ([3, 3, in, out]), `block1_conv1/bias`, ...
    """

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("mean", torch.tensor(_IMAGENET_BGR_MEAN).view(1, 3, 1, 1))
        layers, channels = [], 3
        with np.load(weights, allow_pickle=False) as arrays:
            for block, (filters, count) in enumerate(_VGG_BLOCKS, start=1):
                if block > 1:
                    layers.append(nn.MaxPool2d(2))
                for i in range(1, count + 1):
                    layer = nn.Conv2d(channels, filters, 3, padding=1)
                    kernel = torch.from_numpy(arrays[f"block{block}_conv{i}/kernel"])
                    layer.weight.data = kernel.permute(3, 2, 0, 1).contiguous()
                    layer.bias.data = torch.from_numpy(arrays[f"block{block}_conv{i}/bias"])
                    layers += [layer, nn.ReLU(inplace=True)]
                    channels = filters
        self.layers = nn.Sequential(*layers).requires_grad_(False)

    def forward(self, image):
        return self.layers((image.flip(1) + 1.0) * 127.5 - self.mean)
