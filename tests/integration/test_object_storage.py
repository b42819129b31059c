"""The registry in a bucket of a real S3 server, over HTTP and HTTPS on loopback."""

import datetime
import ipaddress
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components.shared.artifacts import directory_sha256
from components.shared.errors import Failure, InputError
from components.shared.registry.registry import Registry
from components.shared.registry.serving_dir import check_writable
from components.shared.registry.upkeep import prune, rollback
from tests.integration.minio import ABSENT, SECRET_KEY, Server, executable, serving
from tests.unit.shared.registry.registries import make_saved_model, promote, record

ROOT = Path(__file__).parents[2]

# A process that promotes as `push` does once it is told to; "winner" or why it was refused.
PUSHER = """
import sys
from components.shared.errors import Failure
from components.shared.registry.registry import Registry
from tests.unit.shared.registry.registries import record

serving_dir, model, expected, run_id = sys.argv[1:]
registry = Registry.open(serving_dir)
print("ready", flush=True)
sys.stdin.readline()
try:
    registry.promote(model, expected_champion=int(expected) or None, record=record(run_id))
    print("winner")
except Failure as error:
    print(error)
"""

# A process that is killed between the commit and the publication.
DOOMED = """
import os, signal, sys
from components.shared.registry.object_storage import ObjectStorage
from tests.unit.shared.registry.registries import promote
from components.shared.registry.registry import Registry

ObjectStorage.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
promote(Registry.open(sys.argv[1]), sys.argv[2], "doomed")
"""


@pytest.fixture(scope="module")
def program() -> str:
    program = executable()
    if program is None:
        pytest.skip(ABSENT)
    return program


@pytest.fixture(scope="module")
def server(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(program, tmp_path_factory.mktemp("minio")) as running:
        yield running


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch):
    """Makes this process one that uses a server."""

    def use(server: Server, **changes: str | None) -> None:
        environment = server.environment(**changes)
        for name in ("AWS_ALLOW_HTTP", "AWS_CA_BUNDLE", "AWS_REGION", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)

    return use


@pytest.fixture
def serving_dir(server: Server, use, tmp_path: Path) -> str:
    """A place in the bucket that no other test uses."""
    use(server)
    return f"s3://models/{tmp_path.name}"


def started(server: Server, code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, env=server.environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def command(server: Server, *arguments: str, **changes: str | None):
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=ROOT, env=server.environment(**changes), capture_output=True, text=True,
    )  # fmt: skip


def models(tmp_path: Path, count: int) -> list[Path]:
    return [make_saved_model(tmp_path / f"model{n}", f"model {n}") for n in range(1, count + 1)]


def test_promote_roll_back_prune_and_promote_again(serving_dir: str, tmp_path: Path) -> None:
    check_writable(serving_dir)
    registry = Registry.open(serving_dir)
    assert registry.storage.folders() == []
    made = models(tmp_path, 4)
    for number, model in enumerate(made[:3], 1):
        assert promote(registry, model, f"run-{number}").version == number
    assert rollback(registry).restores == 2
    assert prune(registry, 1).removed == [2, 3]
    assert promote(registry, made[3], "run-4").version == 6
    assert registry.storage.folders() == ["1", "4", "6", "log"]
    for version, model in ((1, made[0]), (4, made[1]), (6, made[3])):
        fetched = registry.fetch(version, tmp_path / "into")
        assert directory_sha256(fetched) == directory_sha256(model)


def test_the_server_creates_an_object_only_once(serving_dir: str) -> None:
    """What a promotion rests on."""
    storage = Registry.open(serving_dir).storage
    storage.create("log/00000001.json", b"first", "")
    with pytest.raises(FileExistsError):
        storage.create("log/00000001.json", b"second", "")
    assert storage.read("log/00000001.json") == b"first"


def test_of_two_pushes_at_once_one_wins_and_the_other_is_told_why(
    server: Server, serving_dir: str, tmp_path: Path
) -> None:
    made = models(tmp_path, 2)
    for champion in range(3):
        pushers = [
            started(server, PUSHER, serving_dir, model, champion, f"run-{champion}-{model.name}")
            for model in made
        ]
        for pusher in pushers:
            assert pusher.stdout and pusher.stdout.readline() == "ready\n"
        for pusher in pushers:
            assert pusher.stdin
            pusher.stdin.write("go\n")
            pusher.stdin.flush()
        answers = sorted(pusher.communicate()[0] for pusher in pushers)
        assert answers[1] == "winner\n"
        then = f"version {champion}" if champion else "none"
        assert answers[0] == (
            f"{serving_dir}: the champion is version {champion + 1} by now, and the candidate was "
            f"judged when it was {then}; run the pipeline again to judge it anew\n"
        )
    assert Registry.open(serving_dir).storage.folders() == ["1", "2", "3", "log"]


def test_saved_model_pb_comes_last_and_goes_first(
    serving_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry.open(serving_dir)
    seen: list[list[str]] = []
    import obstore

    def watched(name: str):
        function = getattr(obstore, name)

        def call(*args, **kwargs):
            seen.append(registry.storage.files("1"))
            return function(*args, **kwargs)

        return call

    first, second = models(tmp_path, 2)
    monkeypatch.setattr("components.shared.registry.object_storage.obstore.copy", watched("copy"))
    promote(registry, first, "run-1")
    whole = registry.storage.files("1")
    assert len(seen) == len(whole) and all("saved_model.pb" not in files for files in seen)
    promote(registry, second, "run-2")
    seen.clear()
    monkeypatch.setattr(
        "components.shared.registry.object_storage.obstore.delete", watched("delete")
    )
    prune(registry, 1, force=True)
    looks_whole = [files for files in seen if "saved_model.pb" in files]
    assert looks_whole and all(files == whole for files in looks_whole)
    assert registry.storage.files("1") == []


def test_killed_between_the_commit_and_the_publication_models_repair_publishes(
    server: Server, serving_dir: str, tmp_path: Path
) -> None:
    [model] = models(tmp_path, 1)
    doomed = started(server, DOOMED, serving_dir, model)
    _, error = doomed.communicate()
    assert doomed.returncode == -9, error
    options = ("--serving-dir", serving_dir)
    listed = json.loads(command(server, "models", "list", "--json", *options).stdout)
    assert [row["state"] for row in listed["versions"]] == ["unpublished"]
    repaired = command(server, "models", "repair", *options)
    assert repaired.returncode == 0
    assert f"repaired: {serving_dir}/1: in the log, and not yet in its place" in repaired.stdout
    fetched = Registry.open(serving_dir).fetch(1, tmp_path / "into")
    assert directory_sha256(fetched) == directory_sha256(model)
    assert "nothing to repair" in command(server, "models", "repair", *options).stdout


@pytest.mark.parametrize(
    ("where", "changes", "message"),
    [
        ("nowhere/x", {}, "there is no such bucket; make it, or correct the URL"),
        (
            "models/x",
            {"AWS_SECRET_ACCESS_KEY": "planted-wrong"},
            "the secret key is wrong; set AWS",
        ),
        ("models/x", {"AWS_ACCESS_KEY_ID": "nobody"}, "the server doesn't know this access key; "),
        ("models/x", {"AWS_SKIP_SIGNATURE": "true"}, "access denied; give credentials that may"),
        ("models/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "nothing answers at the end"),
        (
            "models/x",
            {"AWS_ENDPOINT_URL": "http://me:planted@"},
            "AWS_ENDPOINT_URL: not an addr",
        ),
        (
            "models/x",
            {"AWS_CA_BUNDLE": "/nowhere.pem"},
            "/nowhere.pem can't be read",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    where: str, changes: dict[str, str], message: str, server: Server, use,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("components.shared.stores._RETRY", {"max_retries": 0})
    use(server, **changes)
    url = f"s3://{where}"
    for ask in (partial(check_writable, url), lambda: Registry.open(url).champion()):
        with pytest.raises((InputError, Failure), match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)
        assert "planted" not in str(caught.value) and SECRET_KEY not in str(caught.value)


def test_the_endpoint_speaks_tls_and_its_ca_is_ones_own(
    program: str, use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.shared.stores._RETRY", {"max_retries": 0})
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    authority = certificates(tmp_path / "certs")
    with serving(program, tmp_path / "minio", tmp_path / "certs") as server:
        url = "s3://models/serving"
        use(server)
        with pytest.raises(Failure, match=r"certificate isn't trusted \(UnknownIssuer\)"):
            Registry.open(url).champion()
        use(Server(server.endpoint.replace("https", "http")))
        with pytest.raises(Failure, match="the server speaks TLS; write https://"):
            Registry.open(url).champion()
        use(server, AWS_CA_BUNDLE=str(authority))
        [model] = models(tmp_path, 1)
        assert promote(Registry.open(url), model, "run-1").version == 1
        listed = command(server, "models", "list", "--serving-dir", url, AWS_CA_BUNDLE=None,
                         SSL_CERT_FILE=str(authority))  # fmt: skip
        assert listed.returncode == 0 and "champion" in listed.stdout


def certificates(folder: Path) -> Path:
    """Makes a server's key and certificate in `folder`; gives the CA's certificate."""
    folder.mkdir()
    today = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made for a test")])
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    for path, public, extension in (
        (folder.with_name("ca.pem"), ca_key, x509.BasicConstraints(ca=True, path_length=None)),
        (folder / "public.crt", key, loopback),
    ):
        certificate = (
            x509.CertificateBuilder(name, name, public.public_key(), x509.random_serial_number())
            .not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=1))
            .add_extension(extension, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "private.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ))  # fmt: skip
    return folder.with_name("ca.pem")


def test_predict_reads_a_real_saved_model_from_the_bucket(
    server: Server, serving_dir: str, tmp_path: Path
) -> None:
    """One that answers with the length of a review, made in a process of its own."""
    code = """
import sys, tensorflow as tf
module = tf.Module()
@tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
def serve(text):
    probability = tf.cast(tf.strings.length(text), tf.float32) / 10.0
    return {"probability": probability, "label": tf.cast(probability > 0.5, tf.int64)}
module.serve = serve
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": serve})
"""
    model = tmp_path / "real"
    made = started(server, code, model)
    _, error = made.communicate()
    assert made.returncode == 0, error
    registry = Registry.open(serving_dir)
    registry.promote(model, expected_champion=None, record=record("run-1"))
    options = ("predict", "--serving-dir", serving_dir)
    answer = command(server, *options, "12", "12345678")
    assert answer.returncode == 0, answer.stderr
    labels = [json.loads(line)["label"] for line in answer.stdout.splitlines()]
    assert labels == ["negative", "positive"]
    registry.storage.remove("1/variables")
    refused = command(server, *options, "12")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert f"{serving_dir}/1: not as it was published (missing: variables/" in refused.stderr
