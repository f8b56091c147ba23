from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "souverain.core"
    label = "core"

    def ready(self) -> None:
        from souverain.core import accounts  # noqa: F401 - connects its signal receivers
