"""The shared ground: communes, EPCI, and where they are.

The npm package `@etalab/decoupage-administratif` (INSEE, DGCL) is parsed by `engine.decoupage`;
`services.load_departement` writes the records and the organisations that stand on them; the API
gives them to anybody.
"""
