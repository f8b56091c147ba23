"""The sovereign cloud of a French département: one program, one database, one portal, one room per system."""

__version__ = "0.1.0"
