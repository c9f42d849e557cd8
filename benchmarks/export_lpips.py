"""Writes the weights of LPIPS to an .npz, for `hazeheal evaluate --lpips_weights=FILE.npz`.

    pip install '.[lpips]'
    python benchmarks/export_lpips.py --net=alex --output=lpips_alex.npz

The heads come with the package `lpips` (Zhang et al. 2018, version 0.1); torchvision downloads the backbone's ImageNet
weights, 233 MB for AlexNet and 528 MB for VGG16, or they are read from a file of torchvision's that is there already:
`--backbone=alexnet-owt-7be5be79.pth`. Papers mostly report AlexNet's.
"""

import argparse
import sys

import numpy as np

CHOICES = ("alex", "vgg")


def arrays_of(net) -> dict:
    """{name: float32 array} of an `lpips.LPIPS`, as `hazeheal.metrics.lpips.load` reads them."""
    import torch

    found = {}
    layers = (net.net.slice1, net.net.slice2, net.net.slice3, net.net.slice4, net.net.slice5)
    convolutions = [m for part in layers for m in part if isinstance(m, torch.nn.Conv2d)]
    for number, convolution in enumerate(convolutions):
        kernel = convolution.weight.detach().numpy()
        found[f"conv{number}/kernel"] = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))
        found[f"conv{number}/bias"] = convolution.bias.detach().numpy()
    for number, head in enumerate(net.lins):
        found[f"lin{number}"] = head.model[-1].weight.detach().numpy()[0, :, 0, 0]
    return found


def main(argv=None) -> int:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--net", choices=CHOICES, default="alex", help="the backbone (%(default)s)")
    parse.add_argument("--backbone", metavar="FILE", help="torchvision's weights of it, a .pth")
    parse.add_argument("--output", required=True, metavar="FILE", help="a new .npz")
    flags = parse.parse_args(argv)
    import lpips
    import torch

    net = lpips.LPIPS(net=flags.net, pnet_rand=flags.backbone is not None, verbose=False)
    if flags.backbone:
        load_backbone(net, torch.load(flags.backbone, map_location="cpu", weights_only=True))
    with open(flags.output, "xb") as file:
        np.savez(file, **arrays_of(net))
    print(f"written to {flags.output}")
    return 0


def load_backbone(net, state) -> None:
    """Sets the convolutions from a state of torchvision's `alexnet` or `vgg16`, whose numbers of layers `lpips` keeps."""
    features = {key.removeprefix("features."): value for key, value in state.items() if "features." in key}
    own = net.net.state_dict()
    net.net.load_state_dict({key: features[key.partition(".")[2]] for key in own})


if __name__ == "__main__":
    sys.exit(main())
