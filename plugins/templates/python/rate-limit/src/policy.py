"""my-policy: every player has a bucket of their own, everybody else shares one per address."""

from wit_world import exports
from wit_world.exports.lifecycle import Description
from wit_world.exports.limiting import (
    Caller,
    Decision_Limited,
    Decision_Unlimited,
    Draw,
    Scope,
    Surface,
)

# HTTP requests a minute. Edit this line.
API_REQUESTS = 100
# Requests for tokens a minute.
AUTH_REQUESTS = 10
# Messages a minute on one WebSocket connection.
WEBSOCKET_MESSAGES = 1000


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Description(
            name="my-policy",
            version="0.1.0",
            summary="One bucket per player, one per address for everybody else.",
        )

    def configure(self, settings):
        """Each setting has `name` and `value`. Raise `componentize_py_types.Err(text)` to refuse them."""


class Limiting(exports.Limiting):
    def decide(self, request):
        if request.surface == Surface.EXEMPT:
            return Decision_Unlimited()
        if request.surface == Surface.WEBSOCKET:
            return a_minute(Scope.CONNECTION, WEBSOCKET_MESSAGES)
        if request.surface == Surface.AUTH:
            return a_minute(Scope.IP, AUTH_REQUESTS)
        if request.caller == Caller.OPERATOR:
            return Decision_Unlimited()
        scope = Scope.PLAYER if request.caller == Caller.PLAYER else Scope.IP
        return a_minute(scope, API_REQUESTS)


def a_minute(scope, capacity):
    return Decision_Limited(Draw(scope=scope, bucket=0, capacity=capacity, window_seconds=60, cost=1))
