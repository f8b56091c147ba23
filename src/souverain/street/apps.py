from django.apps import AppConfig


class StreetConfig(AppConfig):
    name = "souverain.street"
    label = "street"
