"""Writes the shards in an Apache Beam pipeline, for conversions that are too large for one machine.

    hazeheal-tfrecords convert ... --runner=DataflowRunner --beam_options='--project=P --region=R ...'

The pipeline maps `write_shard`, as the process pool does, so the bytes are the same. A runner returns no results to this
process, which reads the shards' notes instead. So all workers must see the images and the output directory under the
same paths, for example on a network file system.
"""

import contextlib
import io
import re
import shlex
from typing import TYPE_CHECKING

from hazeheal.errors import HazeHealError, UsageError
from tfrecords_tools.convert import shard
from tfrecords_tools.convert.shard import ShardSpec

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions


def check_runner(runner: str, options: str) -> None:
    """Raises UsageError if Beam is not installed, or does not know the runner or one of its options."""
    try:
        from apache_beam.runners.runner import create_runner
    except ImportError as error:
        raise UsageError(
            f"--runner={runner} needs Apache Beam ({error}); pip install 'hazeheal[beam]', or omit --runner to convert "
            "in local processes"
        ) from error
    try:
        create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--runner={runner} is not known to Apache Beam: {reason}") from error
    _pipeline_options(runner, options)


def write_shards(specs: list[ShardSpec], *, runner: str, options: str) -> list[list[dict]]:
    """Writes shards, with values of `--runner` and `--beam_options` that `check_runner` has checked.

    Returns:
        The skipped pairs of each shard, as `write_shard` returns them.

    Raises:
        HazeHealError: The pipeline failed, or a shard that it wrote cannot be found on this machine.
    """
    import apache_beam

    pipeline = apache_beam.Pipeline(options=_pipeline_options(runner, options))
    # Without a shuffle, a runner may give all elements of one source to one worker.
    shards = pipeline | apache_beam.Create(specs) | apache_beam.Reshuffle()
    _ = shards | "WriteShard" >> apache_beam.Map(shard.write_shard)
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # each runner has its own exceptions, which quote ours
        raise HazeHealError(f"--runner={runner}: {_reason(error)}") from error
    skipped = []
    for spec in specs:
        note = shard.read_note(spec)
        if note is None:
            raise HazeHealError(
                f"--runner={runner} has finished, but {spec.path} is missing or was changed; check that all its workers "
                "see --output_dir, --hazy_dir and --gt_dir on a file system that they share with this machine"
            )
        skipped.append(note["skipped"])
    return skipped


def _pipeline_options(runner: str, options: str) -> "PipelineOptions":
    """Parses `--beam_options`."""
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        flags = shlex.split(options)
    except ValueError as error:
        raise UsageError(f"--beam_options={options!r} cannot be split into flags: {error}") from error
    parsed, stderr = PipelineOptions([*flags, f"--runner={runner}"]), io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            parsed.get_all_options()
    except SystemExit:
        reason = stderr.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise UsageError(f"--beam_options={options!r}: {reason}") from None
    return parsed


def _reason(error: Exception) -> str:
    """Returns the message of our own exception if a runner's exception quotes it, else the runner's first line."""
    if isinstance(error, HazeHealError):
        return str(error)
    text = str(error)
    own = re.findall(r"^hazeheal\.errors\.\w+: (.*)", text, re.MULTILINE)
    lines = [line for line in (own[-1:] or text.splitlines()) if line.strip()]
    return lines[0] if lines else type(error).__name__
