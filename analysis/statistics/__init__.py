"""Records frame of one stop -> numbers: pure functions, one question a file, named as its table and figure are."""
