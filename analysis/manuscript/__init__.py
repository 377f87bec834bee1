"""README, findings and paper: text by hand around numbers, tables and figures of the committed records."""
