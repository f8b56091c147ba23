"""The shared ground: communes, EPCI, and where they are.

The npm package `@etalab/decoupage-administratif` (INSEE, DGCL) is parsed by `engine.decoupage`;
`services.load_departement` writes the records and the organisations that stand on them, with the
points shipped in `data/`. `engine.cells` draws approximate surfaces from these points until
`services.import_outlines` reads real ones (`engine.outlines`). `atlas` keeps communes, search index
and surfaces in memory for the API and for the other rooms.
"""
