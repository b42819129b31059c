"""Every task in pods of a real Kubernetes: as which users, in which volumes, killed how."""

import json
import re
from pathlib import Path

import pytest

from components.train.checkpoint import CHECKPOINT_FILE
from pipeline.cluster.pending import pod_reasons
from tests.kubernetes.conftest import IMAGE, Namespace, claim, pod

REVIEWS = r"""
python - <<'PYTHON'
import random
from pathlib import Path

draw = random.Random(0)
words = {"neg": "tedious dreadful clumsy".split(), "pos": "superb moving witty".split()}
for split in ("train", "test"):
    for label in ("neg", "pos"):
        folder = Path("source", split, label)
        folder.mkdir(parents=True)
        for number in range(150):
            text = draw.choices("the film plot a and scene actor".split(), k=30)
            text += draw.choices(words[label], k=3) + [split, label, str(number)]
            (folder / f"{number}_5.txt").write_text(" ".join(text))
PYTHON
"""
PREPARED = """
imdb-pipeline task ingest --source source --reviews reviews
imdb-pipeline task preprocess --reviews reviews \\
  --examples examples --vocabulary vocabulary --statistics statistics
"""
TRAIN = """
imdb-pipeline task train --preset debug --num-epochs {epochs} --examples examples \\
  --vocabulary vocabulary --model {model} --model-run {model}_run --checkpoint-dir checkpoints
"""
REST = """
imdb-pipeline task export --model model --vocabulary vocabulary --saved-model saved_model
imdb-pipeline task evaluate --saved-model saved_model --reviews reviews --preset debug \\
  --serving-dir serving --evaluation evaluation --min-accuracy 0.5 --min-slice-accuracy 0 \\
  --max-calibration-error 1
imdb-pipeline task push --saved-model saved_model --evaluation evaluation --serving-dir serving \\
  --pushed-model pushed_model
imdb-pipeline predict --serving-dir serving "a moving film"
find serving -name saved_model.pb -printf 'owner %U:%G\\n'
"""


@pytest.mark.parametrize(
    ("user", "owner"),
    [(None, "10001:0"), ("1000650000:0", "1000650000:0"), ("1234:5678", "1234:5678")],
    ids=["image", "openshift", "other"],
)
def test_every_task_runs_as_any_user(namespace: Namespace, user: str | None, owner: str) -> None:
    name = f"tasks-{owner.replace(':', '-')}"
    script = f"set -e {REVIEWS} {PREPARED} {TRAIN.format(epochs=2, model='model')} {REST}"
    namespace.apply(claim(name), pod(name, script, name, user=user))
    status, log = namespace.ended(name)
    assert status == 0, log[-3000:]
    assert '"version": 1' in log
    assert f"owner {owner}" in log


def test_a_task_that_takes_too_much_memory_is_killed_and_named_so(namespace: Namespace) -> None:
    namespace.apply(
        claim("small"), pod("small", f"set -e {REVIEWS} {PREPARED}", "small", memory="90Mi")
    )
    status, log = namespace.ended("small")
    state = namespace.pod("small")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (status, state["reason"]) == (137, "OOMKilled") or "out of memory" in log.lower(), log
    # Nothing half-written is taken for an output; with memory enough the same goes through.
    again = f"set -e; rm -rf source; {REVIEWS} rm -rf reviews {PREPARED}"
    namespace.apply(pod("enough", again, "small"))
    assert namespace.ended("enough")[0] == 0


def test_a_training_whose_pod_is_deleted_goes_on_to_the_same_weights(namespace: Namespace) -> None:
    digest = "find {model} -type f | sort | xargs sha256sum | sed 's/^/digest /; s/{model}//'"
    namespace.apply(claim("train"))
    namespace.apply(pod("prepare-train", f"set -e {REVIEWS} {PREPARED}", "train"))
    assert namespace.ended("prepare-train")[0] == 0
    cut_off = f"set -e {TRAIN.format(epochs=40, model='resumed')}"
    namespace.apply(pod("cut-off", cut_off, "train"))
    namespace.wait("cut-off", "{.status.containerStatuses[0].state.running.startedAt}")
    namespace.kubectl(
        *("exec", "cut-off", "--", "sh", "-c"),
        f"until [ -e checkpoints/{CHECKPOINT_FILE} ]; do sleep 0.1; done",
    )
    namespace.kubectl("delete", "pod", "cut-off", "--wait=true", "--force", "--grace-period=0")
    script = f"""set -e
    test ! -e resumed
    {TRAIN.format(epochs=40, model="resumed")}
    test ! -e checkpoints || rm -r checkpoints
    {TRAIN.format(epochs=40, model="whole")}
    {digest.format(model="resumed")}
    {digest.format(model="whole")}
    """
    namespace.apply(pod("resumed", script, "train"))
    status, log = namespace.ended("resumed")
    assert status == 0, log[-3000:]
    first = re.search(r"epoch (\d+)/40", log)
    assert first and int(first[1]) > 1, "it began anew"
    digests = re.findall(r"digest (\w{64}) +(\S+)", log)
    assert digests and digests[: len(digests) // 2] == digests[len(digests) // 2 :]


def test_root_without_capabilities_opens_a_volume_that_is_its_own(
    namespace: Namespace, tmp_path: Path
) -> None:
    # A file system of root alone, as on block storage: an emptyDir of the node with that mode.
    script = "python -c 'from components.prepare.volume import *; print(make_writable(\".\"))'"
    namespace.apply(claim("root"))
    namespace.apply(pod("lock", "chmod 755 . && stat -c '%u %a' .", "root", user="0:0", root=True))
    assert namespace.ended("lock") == (0, "0 755\n")
    namespace.apply(pod("locked-out", "touch x", "root"))
    assert namespace.ended("locked-out")[0] == 1
    namespace.apply(pod("open", script, "root", user="0:0", root=True))
    assert namespace.ended("open") == (0, "mode 755 changed to 777\n")
    namespace.apply(pod("let-in", "touch x && echo written", "root"))
    assert namespace.ended("let-in") == (0, "written\n")


def test_why_a_pod_does_not_start_is_found_by_the_run(namespace: Namespace) -> None:
    absent = pod("absent", "true", "absent")
    absent["metadata"]["labels"] = {"pipeline/runid": "a-run"}
    absent["spec"]["containers"][0] |= {"image": f"{IMAGE}-absent", "imagePullPolicy": "Never"}
    namespace.apply(claim("absent"), absent)
    waiting = "{.status.containerStatuses[0].state.waiting.reason}"
    namespace.wait("absent", f"{waiting}=ErrImageNeverPull")
    (reason,) = pod_reasons(namespace.name)("a-run")
    assert reason.startswith(f"ErrImageNeverPull of {IMAGE}-absent")
    assert pod_reasons(namespace.name)("another-run") == []


def test_the_manifests_give_the_service_account_what_kfp_asks_for(
    namespace: Namespace, kustomization: Path
) -> None:
    namespace.kubectl("apply", "--kustomize", str(kustomization))
    secret = json.loads(namespace.kubectl("get", "secret", "imdb-pipeline", "--output", "json"))
    assert set(secret["data"]) == {
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "NOTIFY_WEBHOOK_URL",
    }  # fmt: skip
    account = f"system:serviceaccount:{namespace.name}:imdb-pipeline"

    def may(verb: str, what: str) -> bool:
        answer = namespace.kubectl("auth", "can-i", verb, what, "--as", account, check=False)
        return answer.splitlines()[-1] == "yes"

    assert may("get", "pods") and may("get", "secrets/mlpipeline-minio-artifact")
    assert may("get", "configmaps/kfp-launcher")
    assert not may("get", "secrets/imdb-pipeline") and not may("create", "pods")
