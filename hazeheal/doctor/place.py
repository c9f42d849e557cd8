"""Whether a run's directory can be written, is large enough, and keeps two runs apart."""

import contextlib
import os
import pathlib
import shutil
import tempfile

from hazeheal.doctor.finding import NOTE, OK, PROBLEM, Finding
from hazeheal.utils.file_lock import try_lock

MIB = 2**20
# A checkpoint of the default networks has 540 MB, and a run keeps three and the best besides.
LEAST, ENOUGH = 256 * MIB, 4096 * MIB


def look(directory) -> list[Finding]:
    """Checks `directory`, or the nearest one above it that is there; leaves nothing behind."""
    place = pathlib.Path(directory).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    shown = str(directory) if place == pathlib.Path(directory).absolute() else f"{directory} (in {place})"
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".hazeheal-doctor-") as file:
            file.write(bytes(MIB))
            file.flush()
            os.fsync(file.fileno())
            locks = _locks(file)
    except OSError as error:
        reason = error.strerror or str(error)
        return [Finding("workdir", PROBLEM, f"{shown} cannot be written: {reason}", "name another --workdir")]
    findings = [Finding("workdir", OK, f"{shown} can be written"), _space(place)]
    if not locks:
        advice = "start no second run in a directory there"
        findings.append(Finding("locks", NOTE, "the file system keeps none", advice))
    return findings


def _space(place):
    free = shutil.disk_usage(place).free
    text = f"{free / MIB / 1024:.1f} GiB are free"
    if free < LEAST:
        return Finding("disk", PROBLEM, text, "make room, or name a --workdir on another disk")
    with contextlib.suppress(OSError):
        count = os.statvfs(place)
        if count.f_files and not count.f_favail:
            return Finding(
                "disk", PROBLEM, f"{text}, and no file more", "remove files (its inodes are used up)"
            )
    if free < ENOUGH:
        return Finding(
            "disk", NOTE, text, "checkpoints of large networks have 540 MB each; keep fewer (train.keep)"
        )
    return Finding("disk", OK, text)


def _locks(file):
    try:
        return try_lock(file.fileno())
    except OSError:
        return False
