"""Parity over whole objects: what lets a damaged, short or missing file be written again.

A *stripe* has eight *bins* of equal length, each a concatenation of whole objects then zeros, and
two parity shards of that length (`code`). `packing` says which objects go together, `manifest` is
the file that makes a stripe usable without any database, `stripe` encodes and mends in a stream.
"""
