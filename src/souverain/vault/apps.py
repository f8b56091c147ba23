from django.apps import AppConfig


class VaultConfig(AppConfig):
    name = "souverain.vault"
    label = "vault"
