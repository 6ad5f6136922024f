"""The launch files: valid by Ray's own schema and by bash, of one Ray version, and asking for a token."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from local_nodes import LocalNodes

from tune_mnist.spec.places import bucket_uri

CLUSTER = Path(__file__).parents[2] / "experiments" / "cluster"
BASH = ["bash", "-n"]


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CLUSTER / name).read_text()))


@pytest.mark.parametrize("name", ["on_premises.yaml", "aws.yaml"])
def test_ray_up_takes_the_file(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (config,) = documents(name)
    whole = prepare_config(config)
    validate_config(whole)
    with pytest.raises(jsonschema.ValidationError, match="Additional properties are not allowed"):
        validate_config({**whole, "unknown": 1})
    (head,) = [line for line in whole["head_start_ray_commands"] if "--head" in line]
    (worker,) = [line for line in whole["worker_start_ray_commands"] if "--address" in line]
    assert "--port=6379" in head and "--autoscaling-config" in head and "$RAY_HEAD_IP:6379" in worker
    setup = "\n".join(whole["setup_commands"])
    assert "RAY_AUTH_MODE=token" in setup and "chmod 600 ~/.ray/auth_token" in setup
    assert whole["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("name", ["on_premises.yaml", "aws.yaml"])
def test_the_setup_commands_are_bash(name: str) -> None:
    (config,) = documents(name)
    for kind in ("initialization_commands", "setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for line in config.get(kind, []):
            assert subprocess.run([*BASH, "-c", line], capture_output=True, text=True).stderr == ""


def test_every_start_option_is_one_of_ray_s() -> None:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--help"]
    known = set(re.findall(r"--[\w-]+", subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    lines = [line for name in ("on_premises.yaml", "aws.yaml") for line in (CLUSTER / name).read_text().splitlines()]
    lines += (CLUSTER / "slurm.sh").read_text().splitlines()
    starts = [line.partition("ray start ")[2] for line in lines if "ray start " in line or "ray=(" in line]
    words = {word.partition("=")[0] for line in [*starts, *lines] if "--block" in line or line in starts
             for word in line.replace("ray=(", "").split() if word.startswith("--")}
    assert len(words) >= 8 and words <= known


def keys(**properties: Any) -> dict[str, Any]:
    """The schema of an object with these keys and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def each(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list of such values that is not empty."""
    return {"type": "array", "items": schema, "minItems": 1}


TEXT, WHOLE = {"type": "string"}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
CONTAINER = keys(
    name=TEXT, image=TEXT, env=each(keys(name=TEXT, value=TEXT)), resources=keys(requests=TEXTS, limits=TEXTS),
)
CONTAINER["properties"]["ports"] = each(keys(containerPort=WHOLE, name=TEXT))
GROUP = {"rayStartParams": TEXTS, "template": keys(spec=keys(serviceAccountName=TEXT, containers=each(CONTAINER)))}
# By the names of KubeRay's RayJobSpec, RayClusterSpec and WorkerGroupSpec, as far as the file has them.
RAY_JOB = keys(
    apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"}, metadata=keys(name=TEXT),
    spec=keys(
        entrypoint=TEXT, shutdownAfterJobFinishes={"const": True}, ttlSecondsAfterFinished=WHOLE, backoffLimit=WHOLE,
        rayClusterSpec=keys(
            rayVersion=TEXT, authOptions=keys(mode={"const": "token"}), headGroupSpec=keys(**GROUP),
            workerGroupSpecs=each(
                keys(groupName=TEXT, replicas=WHOLE, minReplicas=WHOLE, maxReplicas=WHOLE, **GROUP)
            ),
        ),
    ),
)


def test_the_rayjob_has_kuberay_s_keys_each_with_a_value_of_its_type() -> None:
    text = (CLUSTER / "kuberay.yaml").read_text()
    jsonschema.validate(list(yaml.safe_load_all(text))[1], RAY_JOB)
    for right, wrong in {
        "authOptions": "authOption", "backoffLimit: 2": "backoffLimit: two", "mode: token": "mode: disabled",
        'num-cpus: "0"': "num-cpus: 0", "maxReplicas: 8": "", "memory: 8Gi": "memory: 8",
    }.items():
        assert right in text
        with pytest.raises(jsonschema.ValidationError, match="is not|was expected|is a required|Additional"):
            jsonschema.validate(list(yaml.safe_load_all(text.replace(right, wrong)))[1], RAY_JOB)


def test_the_rayjob_names_only_what_there_is() -> None:
    account, job = documents("kuberay.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = set()
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        images.add(container["image"])
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert pod["serviceAccountName"] == account["metadata"]["name"] and account["kind"] == "ServiceAccount"
        assert [variable["name"] for variable in container["env"]] == ["AWS_REGION"]
    assert len(images) == 1
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert f"rayproject/ray:{cluster['rayVersion']}-" in (CLUSTER / "Dockerfile").read_text()


def test_the_rayjob_s_entrypoint_is_a_command_of_ours() -> None:
    from tune_mnist.grid import GridArgs, from_toml
    from tune_mnist.shell.arguments import parse

    words = documents("kuberay.yaml")[1]["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "tune_mnist.grid"]
    words = [str(CLUSTER.parents[1] / word) if word.endswith(".toml") else word for word in words[3:]]
    args = parse(GridArgs, words, prog="grid", description="", from_toml=from_toml)
    assert args.resources.address == "auto" and bucket_uri(args.storage) == "s3://BUCKET/studies"


def test_the_slurm_script_starts_a_node_per_host_and_the_study_on_the_first(tmp_path: Path) -> None:
    script = CLUSTER / "slurm.sh"
    assert subprocess.run([*BASH, str(script)], capture_output=True, text=True).stderr == ""
    fakes = {
        "scontrol": 'printf "a1\\na2\\na3\\n"',
        # Nodes stay up until they are told to go; the study and the rest end at once.
        "srun": 'echo "$@" >> srun.log; case "$*" in *hostname*) echo "10.0.0.1 fe80::1";; '
                '*"ray start"*) exec sleep 60;; '
                '*tune_mnist.grid*) stat -c %a "$RAY_AUTH_TOKEN_PATH" >> srun.log; exit 7;; esac',
        # Healthy as soon as all nodes were started.
        "ray": 'until [ "$(grep -c "ray start" srun.log)" -eq 3 ]; do sleep 0.01; done',
    }
    for name, body in fakes.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_NODELIST": "a[1-3]",
        "SLURM_JOB_ID": "41007", "SLURM_CPUS_PER_TASK": "16",
    }
    command = ["bash", str(script), "experiments/smoke.toml", "--name", "two words"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 7, done.stderr  # the study's own status
    told = (tmp_path / "srun.log").read_text().splitlines()
    starts = [line for line in told if "ray start" in line]
    assert len(starts) == 3 and sum("--head" in line for line in starts) == 1
    assert all("10.0.0.1" in line and "21007" in line for line in starts)
    (study,) = [line for line in told if "tune_mnist.grid" in line]
    assert "-w a1 " in study and study.endswith("--address 10.0.0.1:21007 experiments/smoke.toml --name two words")
    assert "600" in told and not list(tmp_path.glob(".ray_token*"))


def test_local_nodes_are_a_head_and_its_workers_on_loopback_behind_a_token(tmp_path: Path) -> None:
    python = tmp_path / "python"  # notes what it is to start, says that it has, and stays up
    python.write_text(
        '#!/bin/bash\necho "$RAY_AUTH_MODE $(stat -c %a "$RAY_AUTH_TOKEN_PATH") $@" >> words\n'
        'echo "Ray runtime started"\nexec sleep 60\n'
    )
    python.chmod(0o755)
    nodes = LocalNodes(tmp_path, python=str(python))
    try:
        for cpus in (1, 2.5, 1):
            nodes.add(cpus=cpus)
        assert all(node.poll() is None for node in nodes.nodes)
    finally:
        nodes.close()
    assert all(node.poll() is not None for node in nodes.nodes)
    head, *workers = (tmp_path / "words").read_text().splitlines()
    assert "--head" in head and f"--port={nodes.address.split(':')[1]} " in head and "--num-cpus=1 " in head
    assert len(workers) == 2 and all(f"--address={nodes.address}" in line for line in workers)
    assert "--num-cpus=2.5 " in workers[0]
    for line in (head, *workers):
        assert line.startswith("token 600 -m ray.scripts.scripts start --block ")
        assert "--node-ip-address=127.0.0.1" in line
    assert len((tmp_path / "token").read_text()) == 64
