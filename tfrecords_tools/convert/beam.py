"""Shards written by an Apache Beam pipeline, for conversions that are too large for one machine.

    hazeheal-tfrecords convert ... --runner=DataflowRunner --beam_options='--project=P --region=R ...'

The pipeline maps `write_shard`, the function that the process pool maps too, so the bytes are the same. What
a shard came to stands in the note beside it and is read from there: a runner returns nothing to us. So all
workers must see the images and the output directory under the same paths, as on a mounted file system.
"""

import contextlib
import io
import re
import shlex
import threading

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.utils.console import progress_bar
from tfrecords_tools.convert import shard

_POLL_SECONDS = 0.5


def check(runner: str, options: str) -> None:
    """Checks that Beam is there and knows the runner and its options, before anything is read.

    Raises:
        UsageError: It is not, or does not.
    """
    try:
        from apache_beam.runners.runner import create_runner
    except ImportError as error:
        raise UsageError(
            f"--runner={runner} needs Apache Beam ({error}); pip install 'hazeheal[beam]', or leave it out to convert "
            "in processes of this machine"
        ) from error
    try:
        create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--runner={runner} is not known to Apache Beam: {reason}") from error
    pipeline_options(runner, options)


def pipeline_options(runner: str, options: str):
    """Beam's options object of `--runner` and `--beam_options`."""
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        flags = shlex.split(options)
    except ValueError as error:
        raise UsageError(f"--beam_options={options!r} cannot be split into flags: {error}") from error
    for flag in flags:
        if re.match(r"--runner(=|$)", flag):
            raise UsageError(f"--beam_options={options!r} names a runner too; --runner={runner} does")
    parsed, said = PipelineOptions([f"--runner={runner}", *flags]), io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed.get_all_options()
    except SystemExit:
        reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise UsageError(f"--beam_options={options!r}: {reason}") from None
    return parsed


def write_shards(specs, *, runner: str, options: str, total: int, already: int) -> list:
    """Writes all shards; shows how many pairs are in shards that are finished.

    Args:
        specs: `shard.ShardSpec`s of shards that are not there yet.
        runner, options: As checked by `check`.
        total, already: Pairs in all shards, and in those that were finished before.

    Returns:
        The notes of the shards, in order.

    Raises:
        HazeHealError: The pipeline failed, or a shard that it wrote is not to be seen from here.
    """
    import apache_beam

    pipeline = apache_beam.Pipeline(options=pipeline_options(runner, options))
    # Without a shuffle in between, a runner may take all that follows one source as one worker's task.
    shards = pipeline | apache_beam.Create(specs) | apache_beam.Reshuffle()
    _ = shards | "WriteShard" >> apache_beam.Map(shard.write_shard)
    with _progress(specs, total=total, already=already):
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:  # of the runner's own kinds, with ours somewhere in the text
            raise HazeHealError(f"--runner={runner}: {_reason(error)}") from error
    notes = []
    for spec in specs:
        note = shard.read_done(spec)
        if note is None:
            raise HazeHealError(
                f"--runner={runner} has ended and {spec.path} is not there as it was written: do all its workers see "
                "--output_dir, --hazy_dir and --gt_dir on a file system that they share with this machine?"
            )
        notes.append(note)
    return notes


def _reason(error) -> str:
    """What our own code said where it was that, else the first line of the runner's."""
    if isinstance(error, HazeHealError):
        return str(error)
    text = str(error)
    ours = re.findall(r"^hazeheal\.errors\.\w+: (.*)", text, re.MULTILINE)
    lines = [line for line in (ours[-1:] or text.splitlines()) if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _progress(specs, *, total, already):
    """A bar that follows the notes as they appear: it is all that every runner shows of where it is."""
    done = threading.Event()
    bar = progress_bar(total=total, initial=already, unit="pair")

    def follow():
        pending = list(specs)
        while pending and not done.wait(_POLL_SECONDS):
            finished = [spec for spec in pending if spec.done_path.exists()]
            pending = [spec for spec in pending if spec not in finished]
            bar.update(sum(len(spec.pairs) for spec in finished))

    follower = threading.Thread(target=follow, daemon=True)
    if not bar.disable:
        follower.start()
    try:
        with bar:
            yield
    finally:
        done.set()
