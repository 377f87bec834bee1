"""One table a file: `build(frame) -> DataFrame`, `TITLE`, and `FRAME` (records unless it says otherwise).

A table's `attrs` carry title, note and, when the study lacks what the table needs, `lacks`. It is found by its file
name. `build` gets all rows of a study, applies the exclusion rules itself and counts them in the note. What further
parameters it may have, and who fills them in: items.py.
"""
