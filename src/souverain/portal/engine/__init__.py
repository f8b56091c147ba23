"""Pure parts of the portal: the life of a membership, the agreement's text, the members' file."""
