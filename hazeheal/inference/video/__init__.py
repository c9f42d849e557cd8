"""Videos: decoded, restored and encoded with PyAV, everything else of the file copied (docs/inference.md).

| file | content |
|---|---|
| restore.py | one video from file to file |
| film.py, filters.py | the frames of a file, upright, as RGB; FFmpeg's filters |
| colors.py, tone_mapping.py | matrix, range and tags; HDR to SDR |
| encoders.py | codecs, encoders and their options, pixel formats |
| result.py | the file to write |
| passthrough.py | sound, subtitles, data, covers, attachments, chapters, metadata |
| smoothing.py, cuts.py | estimates without flicker, from cut to cut |
"""

from hazeheal.inference.video.encoders import VideoOptions, choose_encoder
from hazeheal.inference.video.restore import VideoReport, restore_video

__all__ = ["VideoOptions", "VideoReport", "choose_encoder", "restore_video"]
