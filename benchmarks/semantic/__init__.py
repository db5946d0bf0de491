"""How often similar questions are answered, and how often wrongly; and how the judge is trained."""

import app.settings  # noqa: F401 - ahead of numpy, which computes with one thread then, as in the gateway
