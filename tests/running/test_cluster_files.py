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


def test_the_rayjob_is_whole() -> None:
    claim, job = documents("kuberay.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"} and spec["shutdownAfterJobFinishes"] is True
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = set()
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        images.add(container["image"])
        assert container["resources"]["requests"] == container["resources"]["limits"]
        (mount,) = container["volumeMounts"]
        (volume,) = pod["volumes"]
        assert mount["name"] == volume["name"] and mount["mountPath"] == "/shared"
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert len(images) == 1 and claim["spec"]["accessModes"] == ["ReadWriteMany"]
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
    assert args.resources.address == "auto" and str(args.storage).startswith("/shared/")


def test_the_slurm_script_starts_a_node_per_host_and_the_study_on_the_first(tmp_path: Path) -> None:
    script = CLUSTER / "slurm.sh"
    assert subprocess.run([*BASH, str(script)], capture_output=True, text=True).stderr == ""
    fakes = {
        "scontrol": 'printf "a1\\na2\\na3\\n"',
        # Nodes stay up until they are told to go; the study and the rest end at once.
        "srun": 'echo "$@" >> srun.log; case "$*" in *hostname*) echo "10.0.0.1 fe80::1";; '
                '*"ray start"*) exec sleep 60;; '
                '*tune_mnist.grid*) stat -c %a "$RAY_AUTH_TOKEN_PATH" >> srun.log; exit 7;; esac',
        "ray": "exit 0",
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


def test_local_nodes_says_what_it_does() -> None:
    words = [sys.executable, str(CLUSTER / "local_nodes.py"), "--help"]
    told = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout
    assert "each with processes of its own" in told
