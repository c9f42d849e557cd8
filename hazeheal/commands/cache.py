"""Lists or removes the decoded images that trainings keep (--config.data.cache).

Examples:
  hazeheal cache                     what is in ~/.cache/hazeheal, the directory of --config.data.cache=auto
  hazeheal cache --remove            remove all of it; the next training decodes its images again
  hazeheal cache /scratch/pixels --remove

A training that reads a cache while it is removed goes on undisturbed; the disk space is free when it ends.

exit codes: 0 done, 1 a file could not be removed, 2 bad usage
"""

import datetime
import pathlib
from collections.abc import Sequence

from hazeheal.commands.parsing import CommandParser, command_parser
from hazeheal.data.pipeline import cache_files
from hazeheal.errors import EXIT_OK, HazeHealError
from hazeheal.utils.console import align, format_bytes, plural


def parser() -> CommandParser:
    """Returns the parser of the command's flags."""
    parse = command_parser("cache", __doc__)
    parse.add_argument("directory", metavar="DIR", nargs="?", help="directory of caches (default: that of auto)")
    parse.add_argument("--remove", action="store_true", help="remove all caches in the directory")
    return parse


def main(argv: Sequence[str]) -> int:
    """Runs `hazeheal cache`; raises `HazeHealError` if a file could not be removed."""
    flags = parser().parse_args(argv)
    directory = pathlib.Path(flags.directory) if flags.directory else cache_files.default_directory()
    try:
        caches = {path: path.stat() for path in cache_files.list_caches(directory)}
        size = format_bytes(sum(stat.st_size for stat in caches.values()))
        if flags.remove:
            for path in caches:
                path.unlink()
            cache_files.remove_leftovers(directory)
            print(f"removed {plural(len(caches), 'cache')}, {size}, from {directory}")
            return EXIT_OK
    except OSError as error:
        raise HazeHealError(f"{error.filename}: {error.strerror}") from error
    if caches:
        rows = [(path.name, format_bytes(stat.st_size), _date(stat.st_mtime)) for path, stat in caches.items()]
        print(align([("cache", "size", "built"), *rows], left=(0, 2)))
    print(f"{plural(len(caches), 'cache')}, {size}, in {directory}")
    return EXIT_OK


def _date(timestamp):
    return datetime.datetime.fromtimestamp(timestamp).isoformat(sep=" ", timespec="minutes")
