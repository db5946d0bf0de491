"""The front door: model traffic goes straight to the gateway, everything else through Litestar's routing."""

from typing import cast

from litestar import Litestar
from litestar.types import HTTPScope, LifeSpanReceive, LifeSpanScope, LifeSpanSend, Receive, Scope, Send

from app.gateway.paths import is_control
from app.gateway.routes import Gateway


class Door(Litestar):
    """Litestar with a shortcut.

    Model traffic is matched on any prefix and method, which a route table cannot say, and it is the hot path: every
    microsecond of routing counts there.
    """

    gateway: Gateway | None = None

    async def __call__(
        self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend
    ) -> None:
        """Hand the request to whom it belongs."""
        if scope["type"] == "http" and self.gateway is not None and not is_control(scope["path"]):
            await self.gateway(cast(HTTPScope, scope), cast(Receive, receive), cast(Send, send))
            return
        await super().__call__(scope, receive, send)
