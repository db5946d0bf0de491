"""The dashboard: a page over the reports, which asks them with the key that its reader gives it."""

from pathlib import Path

from app.pages import load_assets, serve_page

STATIC = Path(__file__).parent / "static"
ASSETS = load_assets(STATIC)
DASHBOARD_HANDLERS = serve_page("/dashboard", ASSETS)
