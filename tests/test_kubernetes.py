"""launch/kubernetes/train.yaml: its parts are consistent, and its commands parse."""

import pathlib

import pytest
import yaml

from hazeheal.__main__ import main
from hazeheal.distributed import supervisor, tf_config

MANIFEST = pathlib.Path(__file__).resolve().parents[1] / "launch/kubernetes/train.yaml"


@pytest.fixture(scope="module")
def manifest():
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text())}


def container(manifest):
    (one,) = manifest["Job"]["spec"]["template"]["spec"]["containers"]
    return one


def test_every_pod_is_one_host_of_the_job(manifest, monkeypatch):
    job, started = manifest["Job"]["spec"], []

    class Stand:
        def __init__(self, start, **options):
            started.append((start(), options["notes"]))

        def run(self):
            return 0

    monkeypatch.setattr(supervisor, "Supervisor", Stand)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    program, *command = container(manifest)["command"]
    assert program == "hazeheal"
    for index in range(job["completions"]):
        arguments = [text.replace("$(JOB_COMPLETION_INDEX)", str(index)) for text in container(manifest)["args"]]
        assert main([*command, *arguments]) == 0
    name, domain = manifest["Job"]["metadata"]["name"], job["template"]["spec"]["subdomain"]
    (port,) = (one["containerPort"] for one in container(manifest)["ports"])
    for index, (processes, notes) in enumerate(started):
        ((_, arguments, variables),) = processes
        group = tf_config.from_environment(variables)
        assert (group.group, group.addresses) == (
            index,
            tuple(f"{name}-{i}.{domain}:{port}" for i in range(job["completions"])),
        )
        assert "--gpus=0,1,2,3" in arguments
        assert notes is not None
    assert job["parallelism"] == job["completions"]
    assert container(manifest)["resources"]["limits"]["nvidia.com/gpu"] == 4


def test_the_service_names_the_pods(manifest):
    service, job = manifest["Service"], manifest["Job"]
    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert service["spec"]["ports"][0]["port"] == container(manifest)["ports"][0]["containerPort"]


def test_a_request_to_stop_is_not_a_failure_and_an_error_is_final(manifest):
    rules = manifest["Job"]["spec"]["podFailurePolicy"]["rules"]
    codes = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    assert codes == {"FailJob": [1, 2], "Ignore": [75]}
    assert all(rule["onExitCodes"]["containerName"] == container(manifest)["name"] for rule in rules[:2])
    assert rules[2] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    # A policy is allowed with pods that are not restarted in place alone.
    assert manifest["Job"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_mounted_volumes_are_defined(manifest):
    spec = manifest["Job"]["spec"]["template"]["spec"]
    assert {m["name"] for m in container(manifest)["volumeMounts"]} == {v["name"] for v in spec["volumes"]}
