"""The facts of status.json for Prometheus, over HTTP, while a run trains: `hazeheal train --metrics_port=9400`.

They are read from the file at each scrape, as any other reader does: the training knows nothing of it, and what is
served is what `hazeheal runs` shows. Names, escaping and the formats that a server may ask for are prometheus_client's.
"""

import contextlib
import math

from hazeheal.errors import HazeHealError, UsageError
from hazeheal.runs import status

STATES = (*status.ACTIVE, "complete", "stopped", "preempted", "failed", "killed", "silent")
# {field of status.json: (name, help)}
GAUGES = {
    "step": ("hazeheal_step", "Steps done"),
    "steps": ("hazeheal_steps_wanted", "Steps at which the run is complete"),
    "epoch": ("hazeheal_epoch", "Whole epochs done"),
    "images_per_second": ("hazeheal_images_per_second", "Images a second over the last log interval"),
    "eta_seconds": ("hazeheal_eta_seconds", "Seconds left at this pace"),
    "best_psnr": ("hazeheal_best_psnr_db", "Best validation PSNR"),
    "best_step": ("hazeheal_best_step", "Step of the best validation PSNR"),
    "checkpoint_step": ("hazeheal_checkpoint_step", "Step of the newest checkpoint"),
    "groups": ("hazeheal_groups", "Replica groups"),
    "replicas": ("hazeheal_replicas", "Replicas of all groups"),
    "age_seconds": ("hazeheal_age_seconds", "Seconds since the last sign of life"),
}


def require():
    """Returns the package prometheus_client.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import prometheus_client
    except ImportError as error:
        raise UsageError("--metrics_port needs prometheus_client: pip install 'hazeheal[metrics]'") from error
    return prometheus_client


@contextlib.contextmanager
def serving(run, *, port, host="127.0.0.1"):
    """Serves the facts of a run at http://HOST:PORT/metrics during the block, in a thread of its own.

    Args:
        run: The run's directory.
        port: None: nothing is served.
        host: Address to listen at; by default this machine alone can ask.

    Raises:
        UsageError: prometheus_client is not installed.
        HazeHealError: The address is taken, or is none of this machine's.
    """
    if port is None:
        yield
        return
    prometheus_client = require()
    registry = prometheus_client.CollectorRegistry()
    registry.register(_Run(run))
    try:
        server, thread = prometheus_client.start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise HazeHealError(
            f"--metrics_port={port}: {host} cannot be listened at: {error.strerror or error}; name another port"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Run:
    """What prometheus_client asks at each scrape."""

    def __init__(self, run):
        self._run = run

    def collect(self):
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        facts = status.read_status(self._run)
        if facts is None:  # has not begun
            return
        for field, (name, text) in GAUGES.items():
            if facts.get(field) is not None:
                yield GaugeMetricFamily(name, text, value=facts[field])
        state = GaugeMetricFamily("hazeheal_state", "1 for the state that the run is in", labels=["state"])
        for name in STATES:
            state.add_metric([name], float(facts["state"] == name))
        yield state
        losses = GaugeMetricFamily("hazeheal_loss", "Mean over the last log interval", labels=["loss"])
        for name, value in facts.get("losses", {}).items():
            losses.add_metric([name], math.nan if value is None else value)
        yield losses
        validation = GaugeMetricFamily("hazeheal_validation", "The last validation", labels=["figure"])
        for name, value in (facts.get("validation") or {}).items():
            validation.add_metric([name], math.nan if value is None else value)
        yield validation
        told = {name: str(facts.get(name)) for name in ("host", "data_dir", "precision")}
        yield InfoMetricFamily(
            "hazeheal_run", "What trains, and where", value={"run": str(self._run), **told}
        )
