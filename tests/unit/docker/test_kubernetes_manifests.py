"""What `docker/kubernetes` holds: the manifests fit each other, and the schedule is one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.schedule.document import read_schedules

FOLDER = Path(__file__).parents[3] / "docker" / "kubernetes"


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    """By kind."""
    documents = yaml.safe_load_all((FOLDER / "service-account.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_the_account_may_do_what_is_listed_and_read_two_objects_by_name(manifests) -> None:
    rules = manifests["Role"]["rules"]
    assert "*" not in str(rules)
    for resource in ("secrets", "configmaps"):
        (rule,) = (rule for rule in rules if resource in rule["resources"])
        assert rule["resources"] == [resource] and len(rule["resourceNames"]) == 1
    changed = {
        (resource, verb)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if verb not in ("get", "list", "watch")
    }
    assert changed == {
        *(("workflowtaskresults", verb) for verb in ("create", "patch")),
        *(("workflowtasksets", "patch"), ("workflowtasksets/status", "patch")),
    }


def test_the_binding_names_the_role_and_the_account(manifests) -> None:
    binding = manifests["RoleBinding"]
    assert binding["roleRef"]["name"] == manifests["Role"]["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert subject["name"] == manifests["ServiceAccount"]["metadata"]["name"]


def test_the_nightly_schedule_uses_the_account_and_the_secret(manifests) -> None:
    (nightly,) = read_schedules(FOLDER / "schedule.yaml")
    assert nightly.service_account == manifests["ServiceAccount"]["metadata"]["name"]
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    (secret,) = kustomization["secretGenerator"]
    example = (FOLDER / "secret.env.example").read_text()
    keys = {line.partition("=")[0] for line in example.splitlines()}
    used = {(one.secret, one.key) for one in nightly.kubernetes.secret_variables()}
    used |= {webhook for webhook in [nightly.kubernetes.webhook()] if webhook}
    assert used == {(secret["name"], key) for key in keys}
