"""my-policy: the nearest host that meets the zone's needs gets the session."""

from wit_world import exports
from wit_world.exports.lifecycle import Description
from wit_world.exports.selection import Pick

# Points that a host loses for each millisecond of latency. Edit this line.
POINTS_PER_MS = 0.5
# Points that a host loses for each percent of lost packets.
POINTS_PER_LOSS = 5.0


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Description(
            name="my-policy",
            version="0.1.0",
            summary="The nearest host that meets the zone's needs gets the session.",
        )

    def configure(self, settings):
        """Each setting has `name` and `value`. Raise `componentize_py_types.Err(text)` to refuse them."""


class Selection(exports.Selection):
    def score(self, host):
        return score(host.latency_ms, host.packet_loss_percent)

    def rank(self, request, candidates):
        picks = [
            Pick(
                candidate=index,
                score=score(host.latency_ms, host.packet_loss_percent),
                reason=f"{host.latency_ms:.0f} ms away",
            )
            for index, host in enumerate(candidates)
            if suits(request, host)
        ]
        # Stable: hosts with the same score keep their order.
        picks.sort(key=lambda pick: -pick.score)
        return picks[: request.max_picks]


def score(latency_ms, packet_loss_percent):
    points = 100.0 - latency_ms * POINTS_PER_MS - packet_loss_percent * POINTS_PER_LOSS
    return min(max(points, 0.0), 100.0)


def suits(request, host):
    return (
        host.quality_score >= request.min_quality_score
        and host.free_mbps >= request.min_bandwidth_mbps
        and host.latency_ms <= request.max_latency_ms
        and host.free_players >= request.players
    )
