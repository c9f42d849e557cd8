"""`hazeheal train --metrics_port`: the metrics that a Prometheus server reads, and invalid ports."""

import socket
import sys
import urllib.request

import pytest
from refusals import refusal

from hazeheal.commands import train
from hazeheal.errors import HazeHealError, UsageError
from hazeheal.runs.prometheus import serve_metrics
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.runs.status import Status

parser = pytest.importorskip("prometheus_client.parser")


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def scraped(port):
    """{(name, label or None): value}, as Prometheus's own parser reads it."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples = [s for family in parser.text_string_to_metric_families(text) for s in family.samples]
    return {(s.name, next(iter(s.labels.values()), None)): s.value for s in samples}


def enter(*arguments, **options):
    with serve_metrics(*arguments, **options):
        pass


def test_the_metrics_are_those_of_status_json(tmp_path, port):
    directory = RunDirectory(tmp_path / 'a "run"\\n')
    with serve_metrics(directory.path, port=port), directory.locked():
        assert scraped(port) == {}  # the run has not started
        status = Status(directory, total_steps=100, facts={"replicas": 2, "data_dir": 'd"\\'})
        status.begin()
        assert scraped(port)["hazeheal_state", "starting"] == 1.0
        status.saving(40, {"psnr": 21.5, "ssim": 0.9})
        status.validated(40, {"psnr": 21.5, "ssim": 0.9})
        status._written_at = -1e9
        rates = {"images_per_second": 41.0, "images_per_second_wall": 40.0, "overhead_share": 0.02}
        status.log(40, losses={"gen_l1_loss": 0.25, "disc_loss": float("nan")}, rates=rates)
        found = scraped(port)
        plain = {name: value for (name, label), value in found.items() if label is None}
        assert plain.pop("hazeheal_age_seconds") >= 0
        assert plain == {
            "hazeheal_step": 40,
            "hazeheal_steps_wanted": 100,
            "hazeheal_images_per_second": 41.0,
            "hazeheal_images_per_second_wall": 40.0,
            "hazeheal_overhead_share": 0.02,
            "hazeheal_best_psnr_db": 21.5,
            "hazeheal_best_step": 40,
            "hazeheal_replicas": 2,
        }
        assert found["hazeheal_loss", "gen_l1_loss"] == 0.25
        assert found["hazeheal_loss", "disc_loss"] != found["hazeheal_loss", "disc_loss"]  # NaN
        assert found["hazeheal_validation", "psnr"] == 21.5
        states = {label: value for (name, label), value in found.items() if name == "hazeheal_state"}
        assert [state for state, value in states.items() if value] == ["training"] and len(states) == 10
    with pytest.raises(OSError, match="refused"):
        scraped(port)


def test_it_listens_on_the_given_host(tmp_path, port):
    with serve_metrics(tmp_path, port=port, host="127.0.0.2"):
        with pytest.raises(OSError, match="refused"):
            scraped(port)
        assert socket.create_connection(("127.0.0.2", port), timeout=30).close() is None


def test_a_port_in_use_and_a_foreign_address(tmp_path, port):
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        message = refusal(HazeHealError, enter, tmp_path, port=port)
    assert f"--metrics_port={port}: cannot listen on 127.0.0.1: Address already in use" in message
    assert "cannot listen on 192.0.2.1" in refusal(HazeHealError, enter, tmp_path, port=port, host="192.0.2.1")


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert "hazeheal[metrics]" in refusal(UsageError, enter, tmp_path, port=9400)
    enter(tmp_path, port=None)


@pytest.mark.parametrize("value", ["0", "65536", "x", "-1"])
def test_invalid_ports(value):
    with pytest.raises(UsageError, match="must be a port number from 1 to 65535"):
        train.parser().parse_args([f"--metrics_port={value}"])
