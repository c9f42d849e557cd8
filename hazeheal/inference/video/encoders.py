"""Codecs of results: which encoder writes each, with which quality, into which containers.

options = VideoOptions(codec="hevc", crf=20)
encoder = choose_encoder(".mkv", options)      # UsageError if Matroska cannot hold it
"""

import dataclasses
import os

from hazeheal.errors import DataError, UsageError

# {suffix of a result: FFmpeg's name of its container}
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# FFmpeg's own list for each is longer than what players read.
_HELD = {
    "mp4": ("h264", "hevc", "vp9", "av1", "ffv1", "mpeg4"),
    "mov": ("h264", "hevc", "prores", "mpeg4"),
    "matroska": ("h264", "hevc", "vp9", "av1", "prores", "ffv1", "mpeg4"),
    "webm": ("vp9", "av1"),
}
# The first codec whose encoder FFmpeg has is the default.
DEFAULTS = ("h264", "hevc", "mpeg4")
_WEBM_DEFAULTS = ("vp9", "av1")
_ALIASES = {"avc": "h264", "x264": "h264", "h265": "hevc", "x265": "hevc"}
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_STEPS = tuple(map(str, range(14)))


@dataclasses.dataclass(frozen=True)
class VideoOptions:
    """How results are encoded.

    Attributes:
        codec: A name in `ENCODERS`, or that of its encoder; None: the container's default.
        crf: Quality; smaller is better and larger. None: the encoder's default.
        preset: Speed against size; None: the encoder's default.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None


@dataclasses.dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders.

    Attributes:
        codec: Name of the codec.
        name: Of the encoder.
        crf: (default, largest), or None if it has no such option.
        presets: Allowed values of the option `preset`, which may be none.
        preset: Its default.
        options: Further options.
        smallest: Smallest height and width of the frames.
        formats: Pixel formats, by bits of the source. The first that the encoder has is used.
    """

    codec: str
    name: str
    crf: tuple[int, int] | None = None
    presets: tuple[str, ...] = ()
    preset: str = ""
    options: tuple[tuple[str, str], ...] = ()
    smallest: int = 1
    formats: dict[int, tuple[str, ...]] = dataclasses.field(
        default_factory=lambda: {8: ("yuv420p",), 10: ("yuv420p10le", "yuv420p")}
    )

    def settings(self, options: VideoOptions) -> dict[str, str]:
        """Returns the encoder's options."""
        settings = dict(self.options)
        if self.crf:
            settings["crf"] = f"{self.crf[0] if options.crf is None else options.crf:g}"
        if self.presets:
            settings["preset"] = options.preset or self.preset
        return settings

    def pixel_format(self, bits: int, chroma: tuple[int, int]) -> str:
        """Returns the pixel format for a source with this many bits and this subsampling of colors.

        Players expect 4:2:0, so that is written, but 4:2:2 with more than 8 bits, which only editors use, stays.
        """
        import av

        known = {pixels.name for pixels in av.codec.Codec(self.name, "w").video_formats or ()}
        wanted = self.formats[bits]
        if bits > 8 and chroma == (2, 1):
            wanted = (wanted[0].replace("420", "422"), *wanted)
        return next((name for name in wanted if name in known), wanted[-1])


ENCODERS = {
    encoder.codec: encoder
    for encoder in (
        Encoder("h264", "libx264", crf=(17, 51), presets=_PRESETS, preset="medium"),
        # x265 writes beyond its memory if the width is below 64, and not 32.
        Encoder("hevc", "libx265", (19, 51), _PRESETS, "medium", (("x265-params", "log-level=none"),), smallest=64),
        Encoder("vp9", "libvpx-vp9", (20, 63), options=(("b", "0"), ("row-mt", "1"), ("cpu-used", "2"))),
        Encoder("av1", "libsvtav1", (20, 63), _STEPS, "6"),
        # Standard 4:2:2 of 10 bits, whatever the source has.
        Encoder(
            "prores",
            "prores_ks",
            options=(("profile", "hq"), ("vendor", "apl0")),
            formats={8: ("yuv422p10le",), 10: ("yuv422p10le",)},
        ),
        Encoder(
            "ffv1",
            "ffv1",
            options=(("level", "3"), ("slicecrc", "1")),
            formats={8: ("yuv444p",), 10: ("yuv444p10le",)},
        ),
        Encoder("mpeg4", "mpeg4", options=(("flags", "+qscale"), ("global_quality", "236"))),  # 2 times FF_QP2LAMBDA
    )
}


def require_av(what: object = "a video") -> None:
    """Checks that PyAV is installed, which `what` needs.

    Raises:
        DataError: It is not.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise DataError(f"{what} needs PyAV ({error}): pip install 'hazeheal[video]'") from error


def available_encoders() -> dict[str, str]:
    """Returns {codec: name of its encoder} of those that FFmpeg has, as built into PyAV."""
    import av

    return {codec: encoder.name for codec, encoder in ENCODERS.items() if encoder.name in av.codecs_available}


def choose_encoder(suffix: str, options: VideoOptions) -> Encoder:
    """Returns the encoder for a result.

    Args:
        suffix: Of the result, a key of `CONTAINERS`.
        options: The codec, or None for the container's default.

    Raises:
        DataError: PyAV is missing.
        UsageError: The codec is unknown, FFmpeg lacks its encoder, the container cannot hold it, or the encoder does
            not have the option or its value.
    """
    require_av()
    there = available_encoders()
    encoder = _named(options.codec) if options.codec else None
    if encoder is None:
        names = [codec for codec in (_WEBM_DEFAULTS if suffix == ".webm" else DEFAULTS) if codec in there]
        if not names:
            raise UsageError(f"{suffix}: PyAV has no encoder for this container; name another container or --codec")
        encoder = ENCODERS[names[0]]
    if encoder.codec not in there:
        raise UsageError(f"--codec={options.codec}: PyAV has no encoder for it, only {', '.join(there)}")
    if encoder.codec not in _HELD[CONTAINERS[suffix]]:
        held = [codec for codec in there if codec in _HELD[CONTAINERS[suffix]]]
        raise UsageError(f"--codec={options.codec}: a {suffix} file cannot hold it, but {', '.join(held)}")
    if options.crf is not None:
        if encoder.crf is None:
            raise UsageError(f"--crf={options.crf:g}: {encoder.codec} has no such quality; leave it out")
        if not 0 <= options.crf <= encoder.crf[1]:
            raise UsageError(f"--crf={options.crf:g}: {encoder.codec} needs 0 to {encoder.crf[1]}")
    if options.preset is not None and options.preset not in encoder.presets:
        known = f"needs one of {', '.join(encoder.presets)}" if encoder.presets else "has no presets; leave it out"
        raise UsageError(f"--preset={options.preset}: {encoder.codec} {known}")
    os.environ.setdefault("SVT_LOG", "1")  # the encoder of AV1 writes pages to stderr
    return encoder


def _named(name):
    name = _ALIASES.get(name.lower(), name.lower())
    for encoder in ENCODERS.values():
        if name in (encoder.codec, encoder.name):
            return encoder
    raise UsageError(f"--codec={name}: unknown; use one of {', '.join(ENCODERS)}")
