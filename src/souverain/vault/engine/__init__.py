"""Pure computation of the vault: no Django, no network, no clock."""
