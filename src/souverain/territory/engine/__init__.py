"""Pure computation of the shared ground: administrative lists, positions, cells, outlines,
search. No Django, no network, no clock."""
