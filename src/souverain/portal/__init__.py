"""The portal's own pages: home, a commune, members, the journal, supervision, legal notices.

Everything else on its pages comes from the rooms through `core.queries`.
"""
