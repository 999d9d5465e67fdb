"""The container files of examples/deploy agree with each other, and with docs/how-to/deploy.md."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest
import yaml
from server import EXAMPLES

DOCKERFILE = (EXAMPLES / "Dockerfile").read_text()
CLOSING_SECONDS = 30  # what aclose() takes at most
PODS = ("statefulset", "deployment")


def manifest(name: str) -> dict:
    return yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())


def graceful_seconds() -> int:
    found = re.search(r'"--timeout-graceful-shutdown", "(\d+)"', DOCKERFILE)
    assert found is not None
    return int(found[1])


def folder_of_the_database() -> str:
    found = re.search(r"SESSION_STORE_URL=sqlite:///(\S+)", DOCKERFILE)
    assert found is not None
    return str(PurePosixPath(found[1]).parent)


def test_compose_mounts_the_folder_of_the_database() -> None:
    compose = manifest("compose")
    (volume,) = compose["services"]["bot"]["volumes"]
    assert volume == f"data:{folder_of_the_database()}"
    assert "data" in compose["volumes"]
    seconds = int(compose["services"]["bot"]["stop_grace_period"].removesuffix("s"))
    assert seconds > graceful_seconds() + CLOSING_SECONDS


@pytest.mark.parametrize("name", PODS)
def test_pods_get_the_time_to_stop(name: str) -> None:
    pod = manifest(name)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > graceful_seconds() + CLOSING_SECONDS


@pytest.mark.parametrize("name", PODS)
def test_selectors_match_their_pods(name: str) -> None:
    spec = manifest(name)["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


def test_a_file_is_mounted_by_one_pod() -> None:
    spec = manifest("statefulset")["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    (container,) = spec["template"]["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    assert mount == {"name": claim["metadata"]["name"], "mountPath": folder_of_the_database()}
    (url,) = (one["value"] for one in container["env"] if one["name"] == "SESSION_STORE_URL")
    assert url.startswith(f"sqlite:///{folder_of_the_database()}/")
