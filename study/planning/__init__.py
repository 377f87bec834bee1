"""What a call would do, and how long that takes by the runs that are there and by those that are published."""
