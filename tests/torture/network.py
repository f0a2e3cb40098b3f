"""Faults between the daemon and its S3 server, by the proxy; see tests.support.httpproxy.Settings."""

from typing import TYPE_CHECKING, ClassVar, Final

from typing_extensions import override

from tests.torture.faults import Fault, Words

if TYPE_CHECKING:
    from tests.torture.world import World


class NetworkFault(Fault):
    """The proxy misbehaves; afterwards it passes everything on."""

    settings: ClassVar[dict[str, object]] = {}

    @classmethod
    @override
    def possible(cls, world: "World") -> bool:
        return world.proxy is not None

    @override
    def begin(self, world: "World") -> None:
        assert world.proxy is not None
        world.proxy.clear(**self.settings)

    @override
    def end(self, world: "World") -> None:
        assert world.proxy is not None
        world.proxy.clear()


class Outage(NetworkFault):
    """Connections are refused."""

    settings: ClassVar[dict[str, object]] = {"outage": True}
    words: ClassVar[Words] = ("connect", "unreachable")
    seconds = (12.0, 40.0)


class Overflow(NetworkFault):
    """An outage, and more is written than the outbox may hold: what hours do, in a minute."""

    settings: ClassVar[dict[str, object]] = {"outage": True}
    words: ClassVar[Words] = ("connect", "unreachable")
    seconds = (30.0, 40.0)
    style = "bulk"


class Hang(NetworkFault):
    """Requests are taken and never answered."""

    settings: ClassVar[dict[str, object]] = {"hang": True}
    words: ClassVar[Words] = ("not answer", "no answer", "timed out", "slow", "does not")
    seconds = (15.0, 40.0)


class Resets(NetworkFault):
    """Most connections are reset."""

    settings: ClassVar[dict[str, object]] = {"reset": 0.7}


class Storm503(NetworkFault):
    """Nearly every request is answered with 503."""

    settings: ClassVar[dict[str, object]] = {"error": 0.95, "codes": [503]}
    seconds = (15.0, 30.0)


class Storm(NetworkFault):
    """Nearly every request is answered with 429, 500 or 503."""

    settings: ClassVar[dict[str, object]] = {"error": 0.9, "codes": [429, 500, 503]}
    seconds = (15.0, 30.0)


class Latency(NetworkFault):
    """Half a second before each request is passed on."""

    settings: ClassVar[dict[str, object]] = {"latency_ms": 500.0}


class Narrow(NetworkFault):
    """20 kB a second."""

    settings: ClassVar[dict[str, object]] = {"bandwidth": 20_000.0}
    seconds = (15.0, 30.0)


class LostAnswers(NetworkFault):
    """Requests are done, and their answers lost."""

    settings: ClassVar[dict[str, object]] = {"lost_ack": 0.5}


class HeldAnswers(NetworkFault):
    """Requests are done, and never answered."""

    settings: ClassVar[dict[str, object]] = {"held_ack": 0.5}


class CutAnswers(NetworkFault):
    """Answers end in the middle."""

    settings: ClassVar[dict[str, object]] = {"cut": 0.6}


class StaleListings(NetworkFault):
    """Listings are those of half a minute ago."""

    settings: ClassVar[dict[str, object]] = {"stale": 30.0}


class LostPuts(NetworkFault):
    """Some objects are reported as stored, and are not kept."""

    settings: ClassVar[dict[str, object]] = {"lost_put": 0.4, "only": "PUT .*/deltas/"}
    loses = True


NETWORK: Final = (
    *(Outage, Overflow, Hang, Resets, Storm503, Storm, Latency, Narrow),
    *(LostAnswers, HeldAnswers, CutAnswers, StaleListings, LostPuts),
)
