"""Pure computation of the room: no Django, no network, no clock."""
