"""What a person sees. Reads, never sends.

preview.py               what a submission would be: jobs, arrays, cost
status.py, overview.py   markers + squeue + sacct -> done, running, pending, held, failed, lost
screen.py                all of it on one screen, with why shards have ended badly
"""
