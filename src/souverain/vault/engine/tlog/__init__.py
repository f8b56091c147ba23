"""A transparency log as files: Merkle tree (RFC 6962), tiles, signed checkpoints, cosignatures
(C2SP: tlog-tiles, signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof)."""
