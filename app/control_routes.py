"""Every control route in one list; who may call which is in app.access.policy."""

from litestar import Router

from app.access.audit_routes import AUDIT_HANDLERS
from app.access.budget_routes import BUDGET_HANDLERS
from app.access.key_routes import KEY_HANDLERS
from app.access.organization_routes import ORGANIZATION_HANDLERS
from app.access.team_routes import TEAM_HANDLERS
from app.access.user_routes import USER_HANDLERS
from app.analytics.routes import ANALYTICS_HANDLERS
from app.batch.routes import BATCH_HANDLERS
from app.cache.routes import CACHE_HANDLERS
from app.catalog.price_routes import PRICE_HANDLERS
from app.catalog.routes import CONFIG_HANDLERS
from app.control import ControlRequest, refuse_unknown_parameters

CONTROL_ROUTES = [
    Router(
        "/",
        guards=[refuse_unknown_parameters],
        request_class=ControlRequest,
        route_handlers=[
            *CONFIG_HANDLERS,
            *PRICE_HANDLERS,
            *AUDIT_HANDLERS,
            *BUDGET_HANDLERS,
            *USER_HANDLERS,
            *KEY_HANDLERS,
            *TEAM_HANDLERS,
            *ORGANIZATION_HANDLERS,
            *ANALYTICS_HANDLERS,
            *CACHE_HANDLERS,
            *BATCH_HANDLERS,
        ],
    )
]
