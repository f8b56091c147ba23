"""An independent reader of restic's repository format, versions 1 and 2.

Written from restic's own `doc/design.rst`, without a line of restic: a second opinion on what a
deposit set holds, and a way to read it back if the `restic` program were gone. Data flows through
`crypto` (seals), `files` (config, keys, snapshots), `index` and `packs` (where the blobs are),
`trees` (what the directories hold), `repository` (all of it over a `Source`), `check` (the verdict).

Names of files and of blobs are raw SHA-256 digests (`bytes`, 32); lengths and offsets are in bytes.
"""


class FormatError(ValueError):
    """What was read is not what the format allows. The message is a French sentence, without its
    final stop."""
