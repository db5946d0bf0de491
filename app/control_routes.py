"""Every control route and who may call it, in one table."""

from litestar import Router

from app.access.guards import require_admin
from app.catalog.routes import CONFIG_HANDLERS

CONTROL_ROUTES = [Router("/", guards=[require_admin], route_handlers=CONFIG_HANDLERS)]
