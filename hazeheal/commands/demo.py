"""Opens a local page to try the networks: drop images, compare before and after, download the results.

Examples:
  hazeheal demo
  hazeheal demo --model=runs/mine --port=8000
  hazeheal demo --white=4095                    for 12-bit images in files of 16 bits

The page has the included networks and the one of --model. It needs `pip install 'hazeheal[demo]'`.

The page is for this machine: the server listens on 127.0.0.1 alone, and neither it nor the page connects to other
machines. From elsewhere, use a tunnel such as `ssh -L 7860:localhost:7860 HOST`. The images are kept in a temporary folder
until the page is closed or the command ends.

exit codes: 0 --help, 1 error, 2 bad usage, 130 ended by Ctrl-C, 143 stopped by SIGTERM
"""

import functools
import importlib.util
import os
import pathlib
import tempfile
from collections.abc import Sequence

from hazeheal.commands.parsing import (
    MODEL_HELP,
    CommandParser,
    add_model_flags,
    add_pixel_flags,
    command_parser,
    count,
    name_runs,
    number,
    numbers,
)
from hazeheal.errors import EXIT_OK, HazeHealError, UsageError
from hazeheal.models import pretrained
from hazeheal.utils import quiet_import
from hazeheal.utils.memory import available_memory
from hazeheal.utils.signals import exit_on_sigterm

PORT = number("a port from 0 (any free one) to 65535", int, 0, 65535)
MEGABYTE = 2**20
# Neither Gradio nor the libraries that it uses may connect to other machines.
OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SHARE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = command_parser("demo", __doc__)
    add = parse.add_argument_group("page").add_argument
    add("--port", type=PORT, default=7860, metavar="N", help="port of the page; 0: any free one (default: 7860)")
    upload_help = "largest file that can be dropped, in megabytes (default: 100)"
    add("--max_upload", type=count, default=100, metavar="MB", help=upload_help)
    pixels_help = "largest image, in megapixels (default: what half of the free memory suffices for)"
    add("--max_pixels", type=count, metavar="MP", help=pixels_help)
    share_help = "only `never` (default): the page is never made public"
    add("--share", default="never", metavar="never", help=share_help)
    add_model_flags(parse, default=pretrained.DEFAULT, help=MODEL_HELP)
    add_pixel_flags(parse)
    add = parse.add_argument_group("devices").add_argument
    add("--gpus", type=numbers, metavar="0,1", help="numbers of the GPUs to use (default: all)")
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal demo` with these arguments; returns the exit code or raises `HazeHealError`."""
    flags = parser().parse_args(argv)
    if flags.share != "never":
        raise UsageError(
            f"--share={flags.share}: the page is never made public, as anyone with its address could use this machine and "
            "the images would pass through another company's server; leave the flag out, or use an ssh tunnel"
        )
    if importlib.util.find_spec("gradio") is None:
        raise HazeHealError("the page needs gradio, which is not installed; pip install 'hazeheal[demo]'")
    with exit_on_sigterm(), tempfile.TemporaryDirectory(prefix="hazeheal-demo-") as folder:
        # Gradio reads these when it is imported.
        os.environ.update(OFFLINE, GRADIO_TEMP_DIR=str(pathlib.Path(folder, "gradio")))
        quiet_import.import_tensorflow()
        from hazeheal.demo import server

        with server.bind(flags.port) as sock:
            images, models = _open(flags, folder)
            app = server.make_app(images, models=models, max_upload=flags.max_upload * MEGABYTE)
            address = f"http://{server.HOST}:{sock.getsockname()[1]}"
            print(f"HazeHeal is at {address} on this machine only; Ctrl-C ends it and deletes all images", flush=True)
            server.run(app, sock)
    return EXIT_OK


def _open(flags, folder):
    """Returns the `DemoImages`, and the names of the networks with the one of --model first."""
    from hazeheal.data.images.pixel_options import PixelOptions
    from hazeheal.demo.images import DemoImages, max_pixels
    from hazeheal.distributed.runtime import choose_runtime
    from hazeheal.inference.load_model import open_model
    from hazeheal.inference.restorer import Restorer

    runtime = choose_runtime(gpus=flags.gpus, precision="float32", xla="off")

    def load(model, which):
        return Restorer(open_model(model, which=which), devices=runtime.devices, mirror=flags.mirror)

    given = flags.model
    runs = name_runs([given, *(name for name in pretrained.names() if name != given)])
    first = load(given, flags.which)  # an error of --model ends the command
    models = {name: functools.partial(load, model, None) for name, model in runs.items() if model != given}
    ((name, _),) = [entry for entry in runs.items() if entry[1] == given]
    models = {name: lambda: first} | models
    memory = available_memory()
    images = DemoImages(
        models,
        folder=pathlib.Path(folder, "images"),
        max_pixels=flags.max_pixels * 10**6 if flags.max_pixels else max_pixels(memory),
        max_cached_bytes=memory // 8,
        options=PixelOptions(white=flags.white, bands=flags.bands),
    )
    return images, list(models)
