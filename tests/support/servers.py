"""Real object-store servers on loopback, each in a process of its own.

- Ports are free ones; a server that finds its port taken after all is started again on others.
- `start_*` returns when the server has answered, and has its bucket; `stop` ends the process.
- Data, logs and sockets lie in a directory that goes with the server.
- Nothing listens beyond 127.0.0.1, and nothing calls home.
"""

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config

BUCKET = "syncd-test"
ACCESS_KEY = "admin"
SECRET_KEY = "adminsecret"

_STARTS = 3
_POLLS = 300  # of 0.1 s


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server with one bucket and one key that may do everything."""

    kind: str
    port: int
    process: subprocess.Popen[bytes]
    directory: Path
    sockets: tuple[Path, ...] = ()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for path in self.sockets:
            path.unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def client(self) -> Any:
        """A plain client of the SDK, to look at the bucket past the store; the caller closes it."""
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}),
        )


def s3_environ() -> dict[str, str]:
    """What a process needs to use these servers, and to look for credentials nowhere else."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextlib.contextmanager
def seaweedfs() -> Iterator[S3Server]:
    with _running("seaweedfs", _seaweedfs, ready=403) as server:
        yield server


@contextlib.contextmanager
def ministack() -> Iterator[S3Server]:
    with _running("ministack", _ministack, ready=200) as server:
        yield server


def _seaweedfs(directory: Path) -> S3Server:
    names = ("s3", "master", "volume", "filer", "admin")
    ports = free_ports(2 * len(names))
    flags = [f"-{name}.port={port}" for name, port in zip(names, ports, strict=False)]
    flags += [f"-{name}.port.grpc={port}" for name, port in zip(names, ports[len(names) :], strict=True)]
    flags += [f"-{name}.localSocket={directory / name}.sock" for name in ("s3", "filer")]
    flags += ["-master.telemetry=false", "-volume.preStopSeconds=0", "-admin.ui=false", "-webdav=false"]
    flags += [
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam.readOnly=false",
        "-s3.autoCreateBucket=false",
    ]
    data = directory / "data"
    data.mkdir()
    command = [_script("weed"), f"-logdir={directory}", "mini", f"-dir={data}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", *flags]
    # Put there whatever TMPDIR says, and left there when it has to be killed.
    shared = Path("/tmp")  # noqa: S108
    sockets = tuple(
        shared / f"seaweedfs-{name}-grpc-{port}.sock"
        for name, port in zip(names, ports[len(names) :], strict=True)
    )
    return S3Server("seaweedfs", ports[0], _spawn(command, directory, {}), directory, sockets)


def _ministack(directory: Path) -> S3Server:
    (port,) = free_ports(1)
    # Left alone, it also opens an MQTT port on all interfaces.
    extra = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "s3", "IOT_MTLS_ENABLED": "0"}
    return S3Server("ministack", port, _spawn([_script("ministack")], directory, extra), directory)


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _spawn(command: list[str], directory: Path, extra: dict[str, str]) -> subprocess.Popen[bytes]:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "TMPDIR": str(directory),
    }
    with (directory / "output.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=directory,
            env=environment | s3_environ() | extra,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


@contextlib.contextmanager
def _running(kind: str, start: Callable[[Path], S3Server], *, ready: int) -> Iterator[S3Server]:
    server, output = None, ""
    for _ in range(_STARTS):
        directory = Path(tempfile.mkdtemp(prefix=f"{kind}-"))
        server = start(directory)
        if _answers(server, ready):
            break
        output = (directory / "output.log").read_text(errors="replace")
        server.stop()
        server = None
    if server is None:
        raise RuntimeError(f"{kind} did not start:\n{output[-2000:]}")
    try:
        with contextlib.closing(server.client()) as client:
            client.create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.stop()


def _answers(server: S3Server, ready: int) -> bool:
    """Ask until the server gives the status of one that is up; False when its process ends first."""
    for _ in range(_POLLS):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == ready:
                return True
        except OSError:
            pass
        finally:
            connection.close()
        try:
            server.process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
        return False
    return False
