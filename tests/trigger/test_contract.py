"""The contract server is accepted by two foreign clients of Jenkins."""

from __future__ import annotations

import time

import api4jenkins
import jenkins as python_jenkins

from tests.parts.jenkins import PASSWORD, TOKEN, USER, VERSION, Jenkins


def test_python_jenkins_starts_and_follows_a_build(server: Jenkins) -> None:
    client = python_jenkins.Jenkins(server.url, username=USER, password=PASSWORD, timeout=20)
    assert client.get_whoami()["id"] == USER
    assert client.get_version() == VERSION
    item = client.build_job("pay-build", {"EVENTSPHERE_RUN_ID": "r1", "COMMIT": "abc", "UNDECLARED": "x"})
    assert [each["id"] for each in client.get_queue_info()] == [item]
    while "executable" not in client.get_queue_item(item):
        time.sleep(0.05)
    number = client.get_queue_item(item)["executable"]["number"]
    while client.get_build_info("pay-build", number)["building"]:
        time.sleep(0.05)
    info = client.get_build_info("pay-build", number)
    assert info["result"] == "SUCCESS"
    assert [p["name"] for p in info["actions"][0]["parameters"]] == ["EVENTSPHERE_RUN_ID", "COMMIT"]
    assert client.get_job_info("pay-build")["lastBuild"]["number"] == number
    assert client.get_job_info("team/pay")["name"] == "pay"


def test_api4jenkins_starts_and_follows_a_build(server: Jenkins) -> None:
    client = api4jenkins.Jenkins(server.url, auth=(USER, TOKEN))
    assert client.version == VERSION
    job = client.get_job("pay-build")
    server.state.quiet_s = 1.0
    item = job.build(EVENTSPHERE_RUN_ID="r2", COMMIT="def")
    assert item.get_build() is None
    while not (build := item.get_build()):
        time.sleep(0.05)
    while build.building:
        time.sleep(0.05)
    assert build.result == "SUCCESS"
    assert {p.name: p.value for p in build.get_parameters()} == {"EVENTSPHERE_RUN_ID": "r2", "COMMIT": "def"}
    assert build.project.full_name == "pay-build"
