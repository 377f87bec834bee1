"""Pages whose tables are made of the code: the schema of studies, and the catalogue of measures."""
