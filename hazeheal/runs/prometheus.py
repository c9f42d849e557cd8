"""Serves a run's status.json to Prometheus over HTTP: `hazeheal train --metrics_port=9400`.

Each scrape reads the file, so the metrics are those that `hazeheal runs` shows and the training loop is not involved.
"""

import contextlib
import math
import pathlib
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.runs.status import ACTIVE, read_status

if TYPE_CHECKING:
    from prometheus_client import Metric

STATES = (*ACTIVE, "complete", "stopped", "preempted", "failed", "killed", "silent")
# {field of status.json: (name, help)}
GAUGES = {
    "step": ("hazeheal_step", "Steps done"),
    "steps": ("hazeheal_steps_wanted", "Steps at which the run is complete"),
    "epoch": ("hazeheal_epoch", "Epochs completed"),
    "images_per_second": (
        "hazeheal_images_per_second",
        "Images per second of the training loop over the last log interval",
    ),
    "images_per_second_wall": (
        "hazeheal_images_per_second_wall",
        "Images per second over the last log interval, with validation, samples, saves and reports",
    ),
    "overhead_share": ("hazeheal_overhead_share", "Share of the last log interval outside of the training loop"),
    "eta_seconds": ("hazeheal_eta_seconds", "Estimated seconds until the run is complete"),
    "best_psnr": ("hazeheal_best_psnr_db", "Best validation PSNR"),
    "best_step": ("hazeheal_best_step", "Step of the best validation PSNR"),
    "checkpoint_step": ("hazeheal_checkpoint_step", "Step of the newest checkpoint"),
    "groups": ("hazeheal_groups", "Replica groups"),
    "replicas": ("hazeheal_replicas", "Replicas of all groups"),
    "age_seconds": ("hazeheal_age_seconds", "Seconds since the last write of status.json"),
}


def require_prometheus_client() -> ModuleType:
    """Imports the package prometheus_client and returns it.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import prometheus_client
    except ImportError as error:
        raise UsageError("--metrics_port needs prometheus_client: pip install 'hazeheal[metrics]'") from error
    return prometheus_client


@contextlib.contextmanager
def serve_metrics(run: str | pathlib.Path, *, port: int | None, host: str = "127.0.0.1") -> Iterator[None]:
    """Serves the metrics of a run at http://HOST:PORT/metrics within the block, in a separate thread.

    Args:
        run: The run directory.
        port: 1 to 65535; None serves nothing.
        host: Address to listen on. The default accepts connections from this machine only.

    Raises:
        UsageError: prometheus_client is not installed.
        HazeHealError: The port is in use, or the address does not belong to this machine.
    """
    if port is None:
        yield
        return
    prometheus_client = require_prometheus_client()
    registry = prometheus_client.CollectorRegistry()
    registry.register(_RunCollector(run))
    try:
        server, thread = prometheus_client.start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise HazeHealError(
            f"--metrics_port={port}: cannot listen on {host}: {error.strerror or error}; use another port or host"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _RunCollector:
    """A prometheus_client collector; `collect` is called at each scrape."""

    def __init__(self, run):
        self._run = run

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        def labeled(name, text, label, values):
            family = GaugeMetricFamily(name, text, labels=[label])
            for key, value in values.items():
                family.add_metric([key], math.nan if value is None else float(value))
            return family

        facts = read_status(self._run)
        if facts is None:  # the run has not started
            return
        for field, (name, text) in GAUGES.items():
            if facts.get(field) is not None:
                yield GaugeMetricFamily(name, text, value=facts[field])
        states = {state: facts["state"] == state for state in STATES}
        yield labeled("hazeheal_state", "1 for the current state, 0 for the others", "state", states)
        yield labeled("hazeheal_loss", "Mean over the last log interval", "loss", facts.get("losses") or {})
        yield labeled("hazeheal_validation", "The last validation", "figure", facts.get("validation") or {})
        info = {name: str(facts.get(name)) for name in ("host", "data_dir", "precision")}
        yield InfoMetricFamily("hazeheal_run", "The run and its host", value={"run": str(self._run), **info})
