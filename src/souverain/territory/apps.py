from django.apps import AppConfig


class TerritoryConfig(AppConfig):
    name = "souverain.territory"
    label = "territory"
