"""Pure computation of the vault: archivists' formats and the shares of a recovery key. No Django,
no network, no clock."""
