"""The NVIDIA GPUs of this host, as nvidia-smi lists them. Uses the standard library only."""

import subprocess

_FIELDS = ("index", "name", "driver_version", "memory.total")


def query_gpus() -> list[dict[str, str]] | None:
    """Lists the GPUs of this host.

    Returns:
        For each GPU its `index`, `name`, `driver_version` and `memory.total` (MiB), all as text. Empty if nvidia-smi
        fails or hangs; None if it is not installed.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return []
    except OSError:
        return None
    # One GPU that fails gives an error line and an exit code; the other lines are still valid.
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    return [dict(zip(_FIELDS, row, strict=True)) for row in rows if len(row) == len(_FIELDS) and row[0].isdecimal()]
