"""Pure computation of the vault: restic's format, archivists' formats, the shares of a recovery key.
No Django, no network, no clock."""
