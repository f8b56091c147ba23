"""The commune's agent: what a town-hall PC does by itself, every evening, without Django or a
database.

`place` is the folder of a deposit set, with its address and its password; `settings` is what to
protect (`agent.toml`), `state` what happened (`etat.json`), `sentence` says it in French. `stock`
drives the stock restic; `backup` is one evening: the backup, then in `receipts` the proof that the
vault recorded it. `restore` finds and takes files back, `schedule` has the system start it.
"""

from __future__ import annotations


class AgentError(Exception):
    """What stops the agent: a French sentence that says what to do."""
