"""The real database of metering's tests: settling is what leaves samples."""

from tests.metering.conftest import scene, shared_database, shared_scene

__all__ = ["scene", "shared_database", "shared_scene"]
