from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "souverain.core"
    label = "core"
