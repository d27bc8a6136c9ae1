// my-policy: every player has a bucket of their own, everybody else shares one per address.

/** HTTP requests a minute. Edit this line. */
const API_REQUESTS = 100;
/** Requests for tokens a minute. */
const AUTH_REQUESTS = 10;
/** Messages a minute on one WebSocket connection. */
const WEBSOCKET_MESSAGES = 1000;

export const lifecycle = {
  describe() {
    return {
      name: "my-policy",
      version: "0.1.0",
      summary: "One bucket per player, one per address for everybody else.",
    };
  },

  // settings: a list of { name, value }, both text. Throw a text to refuse them.
  configure(settings) {},
};

export const limiting = {
  decide(request) {
    switch (request.surface) {
      case "exempt":
        return { tag: "unlimited" };
      case "websocket":
        return aMinute("connection", WEBSOCKET_MESSAGES);
      case "auth":
        return aMinute("ip", AUTH_REQUESTS);
      default:
        if (request.caller === "operator") return { tag: "unlimited" };
        return aMinute(request.caller === "player" ? "player" : "ip", API_REQUESTS);
    }
  },
};

function aMinute(scope, capacity) {
  return { tag: "limited", val: { scope, bucket: 0, capacity, windowSeconds: 60, cost: 1 } };
}
