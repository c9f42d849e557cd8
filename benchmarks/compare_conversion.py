"""`hazeheal-tfrecords convert` against loops of one process, and against copying the files.

    python benchmarks/compare_conversion.py [--pairs=2000 --size=620x460]

Two tasks on one folder of JPEG pairs: `keep` (the files' own bytes into records) and `jpeg` (both images
resized and saved anew). The plain loop decodes and writes; the other one also does what ours does beside that
(`benchmarks/peers/plain_tfrecords.py`). Contestants take turns; each is a command with its own start, writes into a new folder,
and is timed as a whole until its bytes are on the disk. The sources are in the page cache for all of them.
Prints pairs/s and each round's ratio to either loop.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import images, rounds  # noqa: E402

UNIT = "pairs_per_second"
PLAIN, SAME = "plain loop", "loop of the same work"


def timed(command, output, pairs):
    """A contestant: runs `command` and waits for the disk; what it wrote to `output` is then deleted."""

    def run():
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        os.sync()
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\nfailed:\n{done.stderr[-2000:]}")
        for made in output.parent.glob(f"{output.name}*"):
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        os.sync()
        return {UNIT: pairs / seconds, "seconds": seconds}

    return run


def contestants(folder, output, *, image_size, pairs, workers):
    """{task: {name: contestant}}; the one to compare with comes first."""
    plain = [sys.executable, str(ROOT / "benchmarks/peers/plain_tfrecords.py")]
    plain += [f"--folder={folder}", f"--output={output}"]
    ours = [sys.executable, "-m", "tfrecords_tools", "convert", "--val_fraction=0", f"--output_dir={output}"]
    ours += [f"--hazy_dir={folder / 'hazy'}", f"--gt_dir={folder / 'GT'}"]
    ours += [f"--workers={workers}"] * bool(workers)
    resize = f"--image_size={image_size}"
    tasks = {
        "keep": {
            PLAIN: plain,
            SAME: [*plain, "--same_work"],
            "hazeheal": [*ours, "--encoding=keep"],
            "copy of the files": ["cp", "-r", str(folder), str(output)],
        },
        "jpeg": {
            PLAIN: [*plain, resize],
            SAME: [*plain, resize, "--same_work"],
            "hazeheal": [*ours, "--encoding=jpeg", resize],
        },
    }
    return {
        task: {name: timed(command, output, pairs) for name, command in commands.items()}
        for task, commands in tasks.items()
    }


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--pairs", type=int, default=2000)
    parse.add_argument("--size", default="620x460", help="WIDTHxHEIGHT of the images")
    parse.add_argument("--image_size", type=int, default=286, help="side after resizing, of the jpeg task")
    parse.add_argument("--workers", type=int, help="processes of ours (default: one a core)")
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--folder", help="where images and records go for the time being (default: $TMPDIR)")
    parse.add_argument("--json", metavar="FILE", help="write all figures here too")
    flags = parse.parse_args(argv)
    width, height = (int(side) for side in flags.size.split("x"))
    result = {"machine": rounds.machine(), "settings": vars(flags), "tasks": {}}
    with tempfile.TemporaryDirectory(dir=flags.folder) as directory:
        folder, output = pathlib.Path(directory, "images"), pathlib.Path(directory, "records")
        images.write_folder(folder, pairs=flags.pairs, height=height, width=width, suffix=".jpg", distinct=32)
        made = contestants(
            folder, output, image_size=flags.image_size, pairs=flags.pairs, workers=flags.workers
        )
        for task, chosen in made.items():
            found, _ = rounds.alternate(chosen, rounds=flags.rounds, unit=UNIT)
            tables = {base: rounds.ratios(found, unit=UNIT, base=base) for base in (PLAIN, SAME)}
            print(f"\n{task}\n\n{rounds.markdown(tables[PLAIN], unit=UNIT, base=f'the {PLAIN}')}")
            print(f"\nhazeheal to the {SAME}: {tables[SAME]['hazeheal']['ratio']:.2f}", flush=True)
            result["tasks"][task] = {"tables": tables, "rounds": found}
    rounds.write(flags.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
