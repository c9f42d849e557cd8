"""A soak: two groups train for half an hour, a random one is killed every two minutes, and nothing may show it.

    python tests/soak.py --directory=/tmp/soak [--minutes=30] [--kill_every=120] [--seed=0]

First an undisturbed run, then the same with kills (SIGKILL, at a random moment of each interval). Then
both groups' log, summaries and last checkpoint are compared, bit for bit. Prints a JSON object; exit code 1
where anything differs.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import sys
import time

import jobs
import processes
import tiny

PROBE_SECONDS = 60.0
# Of the minutes asked for; the rest goes into starting again.
SHARE_OF_TRAINING = 0.7


def main(argv=None) -> int:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--directory", type=pathlib.Path, required=True, help="an empty or new directory")
    parse.add_argument("--minutes", type=float, default=30.0, help="how long the disturbed run takes, about")
    parse.add_argument("--kill_every", type=float, default=120.0, metavar="SECONDS")
    parse.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    flags = parse.parse_args(argv)
    flags.directory.mkdir(parents=True, exist_ok=True)
    if any(flags.directory.iterdir()):
        parse.error(f"{flags.directory} is not empty")

    data = tiny.data_set(flags.directory)
    total = round(steps_per_second(data, flags.directory / "probe") * 60 * flags.minutes * SHARE_OF_TRAINING)
    unbroken, broken = (flags.directory / name for name in ("unbroken", "broken"))
    print(f"{total} steps, undisturbed", file=sys.stderr, flush=True)
    started = time.monotonic()
    code = start(data, unbroken, steps=total).wait()
    assert code == 0, f"the undisturbed run ended with {code}: {unbroken}.log"
    undisturbed_seconds = time.monotonic() - started

    print("the same, disturbed", file=sys.stderr, flush=True)
    started = time.monotonic()
    process = start(data, broken, steps=total)
    kills = disturb(process, broken, every=flags.kill_every, generator=random.Random(flags.seed))
    disturbed_seconds = time.monotonic() - started
    log = broken.with_suffix(".log").read_text(encoding="utf-8")
    report = {
        "steps": total,
        "undisturbed_seconds": round(undisturbed_seconds),
        "disturbed_seconds": round(disturbed_seconds),
        "kills": kills,
        "restarts": log.count("; restarting all processes in "),
        "exit_code": process.returncode,
        "different": differences(broken, unbroken, step=total),
    }
    print(json.dumps(report, indent=1))
    return int(process.returncode != 0 or bool(report["different"]))


def start(data, run, *, steps):
    """Starts a launcher of two groups whose lines go to `RUN.log`."""
    fields = {"train__steps": steps, "train__save_every": "100 steps", "train__validate_every": "1000 steps"}
    with open(run.with_suffix(".log"), "w", encoding="utf-8") as log:
        return tiny.start("launch", "--groups=2", *jobs.flags(data, run, **fields), stderr=log)


def steps_per_second(data, run):
    process = start(data, run, steps=10**7)
    processes.wait_for(lambda: tiny.newest(run) > 0, process)
    first, began = tiny.newest(run), time.monotonic()
    time.sleep(PROBE_SECONDS)
    rate = (tiny.newest(run) - first) / (time.monotonic() - began)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert rate > 0, f"nothing was saved within {PROBE_SECONDS:.0f} s: {run}.log"
    return rate


def disturb(process, run, *, every, generator):
    """Kills a random worker at a random moment of each interval until the job ends.

    Returns:
        [{"after": newest checkpoint then, "group": the victim's}, ...].
    """
    kills, interval = [], time.monotonic()
    while process.poll() is None:
        moment, interval = interval + generator.uniform(0, every), interval + every
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.05)
        group = generator.randrange(2)
        try:
            pid = jobs.workers(process)[group]
            os.kill(pid, signal.SIGKILL)
        except (AssertionError, OSError):  # the job ended, or is between two attempts
            continue
        kills.append({"after": tiny.newest(run), "group": group})
        print(f"killed group {group} after step {kills[-1]['after']}", file=sys.stderr, flush=True)
    return kills


def differences(run, other, *, step):
    """What differs between two runs, by group, in words; empty where nothing does."""
    found = []
    for group in (0, 1):
        try:
            jobs.same_curves(run, other, group=group, step=step)
        except AssertionError as error:
            found.append(f"group_{group:02d}: {str(error).splitlines()[0] if str(error) else 'differs'}")
    return found


if __name__ == "__main__":
    sys.exit(main())
