"""The gateway as `serve` starts it: loaded early, begun when the database has been prepared."""

import gc
import os

# Collecting garbage while modules load finds none, and takes a quarter of the time.
gc.disable()

from litestar import Litestar  # noqa: E402 - as above

from tollgate.entrypoints import http  # noqa: E402 - as above
from tollgate.infra import children  # noqa: E402 - as above


def create_app() -> Litestar:
    """The application, once there is a database for it."""
    children.wait_at_gate(os.environ)
    application = http.create_app()
    # What was loaded stays; later collections need not look at it again and again.
    gc.freeze()
    gc.enable()
    return application
