// my-policy: the nearest host that meets the zone's needs gets the session.

/** Points that a host loses for each millisecond of latency. Edit this line. */
const POINTS_PER_MS = 0.5;
/** Points that a host loses for each percent of lost packets. */
const POINTS_PER_LOSS = 5;

export const lifecycle = {
  describe() {
    return {
      name: "my-policy",
      version: "0.1.0",
      summary: "The nearest host that meets the zone's needs gets the session.",
    };
  },

  // settings: a list of { name, value }, both text. Throw a text to refuse them.
  configure(settings) {},
};

export const selection = {
  score(host) {
    return score(host.latencyMs, host.packetLossPercent);
  },

  rank(request, candidates) {
    const picks = [];
    candidates.forEach((host, candidate) => {
      if (!suits(request, host)) return;
      picks.push({
        candidate,
        score: score(host.latencyMs, host.packetLossPercent),
        reason: `${Math.round(host.latencyMs)} ms away`,
      });
    });
    // Stable: hosts with the same score keep their order.
    picks.sort((a, b) => b.score - a.score);
    return picks.slice(0, request.maxPicks);
  },
};

function score(latencyMs, packetLossPercent) {
  const points = 100 - latencyMs * POINTS_PER_MS - packetLossPercent * POINTS_PER_LOSS;
  return Math.min(Math.max(points, 0), 100);
}

function suits(request, host) {
  return (
    host.qualityScore >= request.minQualityScore &&
    host.freeMbps >= request.minBandwidthMbps &&
    host.latencyMs <= request.maxLatencyMs &&
    host.freePlayers >= request.players
  );
}
