"""One figure a file: `build(frame) -> Figure`, `TITLE`, and `FRAME` (records unless it says otherwise).

`build` raises `Lacking` with what a study would have to have, which is printed. Figures are drawn without pyplot's
global state, in `style.paper_style`, one column wide or two. What a caption has to say of this figure beyond TITLE is
the figure's label (`set_label`). What further parameters `build` may have, and who fills them in: items.py.
"""


class Lacking(ValueError):
    """The frame has not got what the figure needs; the message says what."""
