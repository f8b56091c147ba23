"""The shared kernel: organisations, people, access, devices, journal, objects, jobs, events,
queries, notifications, egress, clock, and the shell of every page.

Data flows one way: a view, an endpoint or a command names a permission (`access`), calls a verb
(`services`), which writes records (`models`), one journal entry (`journal`) and, where others may
care, one event (`events`) in a single transaction. Rooms describe themselves in a manifest
(`rooms`) and ask each other through typed questions (`queries`).
"""
