"""How a number looks: colours, symbols, ticks, and the files of a table or figure."""
