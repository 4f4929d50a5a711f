"""One job on many machines: shards ``i/n`` that separate runs take, and a Ray cluster that shares one run.

Ray's tasks are used rather than Ray Data: a part is a few hundred images, its result is a small matrix that goes
straight into the index or cache of the one process that asked, and what arrived there is what a later run need not
repeat. Nothing between image and index has to be stored, joined or removed. Ray starts a part again when its machine
is lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from mobileclip_kit.errors import ClusterError, MckitError, UsageError, first_line
from mobileclip_kit.extras import require
from mobileclip_kit.options import Option

if TYPE_CHECKING:
    from types import ModuleType

Part = TypeVar("Part")
Result = TypeVar("Result")

RayOption = Annotated[
    str | None,
    Option(
        "Encode on a Ray cluster: HOST:PORT, ray://HOST:PORT, auto (the one that this machine is part of) or local.",
        metavar="[ADDRESS]",
        flag_value="auto",
    ),
]
ShardOption = Annotated[str | None, Option("Only the I-th of N parts; a merge joins the parts.", metavar="I/N")]

# Parts that wait beside those that are computed, so that no worker does.
_WAITING_SHARE = 2
_TRIES = 3
_START = "Start one with `ray start --head`, and pass the address that it prints."
_ANSWER_SECONDS = 5.0
# What begins a connection of HTTP/2 (RFC 9113, 3.4), on which gRPC builds: a fixed text and empty settings. Ray's
# servers answer with their own settings.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


def part_of(name: str, parts: int) -> int:
    """Which of so many parts a name belongs to, from 1 on: the same on every machine."""
    digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
    return int.from_bytes(digest, "little") % parts + 1


def parse_shard(text: str) -> tuple[int, int]:
    """``"2/4"`` → ``(2, 4)``.

    Raises:
        UsageError: It is not of this form, or the first number is not within 1 and the second.
    """
    first, slash, second = text.partition("/")
    if not (slash and first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise UsageError(f"A shard is written i/n, such as 2/4, not {text!r}.")
    shard = int(first), int(second)
    if not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"There is no shard {text}: the first number goes from 1 to the second.")
    return shard


def missing_parts(held: Sequence[tuple[int, int] | None]) -> list[str]:
    """Parts ``i/n`` that nothing holds, though all are parts; None is a whole, which may hold what the others lack."""
    there = [shard for shard in held if shard is not None]
    if len(there) < len(held):
        return []
    return [f"{part}/{parts}" for parts in sorted({parts for _, parts in there}) for part in range(1, parts + 1)
            if (part, parts) not in there]  # fmt: skip


def check_cluster(address: str) -> None:
    """Refuse an address that cannot be one, or at which nobody answers, before anything else is loaded.

    Raises:
        ClusterError: Nothing listens there.
        MissingExtraError: Ray is not installed.
        UsageError: It is no address.
    """
    require("--ray", "ray")
    if address in ("auto", "local"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(
            f"{address!r} is not the address of a Ray cluster.",
            hint="Pass --ray HOST:PORT, or --ray auto or --ray local; put a folder before --ray.",
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS) as connection:
            is_ray = os.environ.get("RAY_USE_TLS") == "1" or _speaks_grpc(connection)
    except OSError as error:
        raise ClusterError(
            f"No Ray cluster answers at {address}: {error.strerror or first_line(error)}.", hint=_START
        ) from error
    if not is_ray:
        raise ClusterError(f"What answers at {address} is no Ray cluster.", hint=_START)


def _speaks_grpc(connection: socket.socket) -> bool:
    """Whether a server answers as Ray's do. Ray itself would wait for another kind of server for minutes."""
    try:
        connection.sendall(_GREETING)
        answer = connection.recv(4)  # the length of a frame, and its kind
    except OSError:
        return False
    return answer[3:] == b"\x04"


def run_on_cluster(
    work: Callable[[Part], Result], parts: Iterable[Part], address: str, *, device: str = "cpu"
) -> Generator[Result]:
    """Apply a function to parts on the machines of a Ray cluster; results arrive in the order in which they are done.

    Each part takes one processor, or one GPU with its share of its machine's processors. Parts are spread over the
    machines. A part whose machine or process dies is computed again, three times at most.

    Args:
        work: A function of a module that is installed on every machine, or a :func:`functools.partial` of one. It has
            no effects but its result.
        parts: At most twice as many as are being computed are taken ahead.
        address: See :func:`check_cluster`. A cluster that this process is connected to already is used as it is.
        device: Where ``work`` computes: ``cuda`` for GPUs, ``auto`` for GPUs where the cluster has some.

    Raises:
        ClusterError: The cluster cannot be reached, has no GPU, or a part kills each process that computes it.
        MckitError: That ``work`` raised.
    """
    check_cluster(address)
    with _connected(address) as ray:
        resources = _resources(ray, device)
        # Without max_calls Ray ends a GPU's process after each part, and the model would be loaded again for every one.
        make = ray.remote(**resources, max_calls=0, max_retries=_TRIES, scheduling_strategy="SPREAD")
        task = make(work_on)
        shared = ray.put(work)
        waiting = iter(parts)
        running: list[Any] = []
        while True:
            free = max(0, _places(ray, resources) - len(running))  # below 0 after a machine was lost
            running += [task.remote(shared, part) for part in islice(waiting, free)]
            if not running:
                return
            done, running = ray.wait(running, num_returns=1)
            yield _result(ray, done[0])


def work_on(work: Callable[[Part], Result], part: Part) -> Result:
    """What a worker of the cluster runs."""
    return work(part)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[ModuleType]:
    import ray

    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"configure_logging": True, "logging_level": "error", "log_to_driver": False}
    if address == "local":
        quiet |= {"include_dashboard": False}
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"No Ray cluster could be joined at {address}: {first_line(error)}",
            hint="Start one with `ray start --head`, or pass --ray local.",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _resources(ray: ModuleType, device: str) -> dict[str, int]:
    """What a part takes."""
    there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    # Of each machine by itself: processors of machines without GPUs are of no use to a GPU elsewhere.
    shares = [int(one.get("CPU", 0) // one["GPU"]) for one in there if one.get("GPU", 0) >= 1]
    if device == "cuda" and not shares:
        raise ClusterError("The Ray cluster has no GPU.", hint="Take --device cpu, or auto for GPUs where some are.")
    return {"num_gpus": 1, "num_cpus": min(shares)} if shares and device in ("cuda", "auto") else {"num_cpus": 1}


def _places(ray: ModuleType, resources: dict[str, int]) -> int:
    """How many parts are with the cluster at a time; it may grow and shrink."""
    kind = "GPU" if "num_gpus" in resources else "CPU"
    return _WAITING_SHARE * max(1, int(ray.cluster_resources().get(kind, 1)))


def _result(ray: ModuleType, done: Any) -> Any:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MckitError):
            raise error.cause from None
        raise ClusterError(f"A worker of the cluster failed: {first_line(error.cause)}") from error
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"A part of the work was lost {_TRIES + 1} times: {first_line(error)}",
            hint="Run the same command again: what was finished is kept. Ray's logs say why its processes ended.",
        ) from error
