"""Launching: shards of a study -> jobs, on this machine or on a SLURM cluster, and what has become of them.

    clusters/<name>.yaml     where jobs run (cluster.py checks it); never part of a run's identity
      v  submit.py           shards without results -> one submitit job array, one job a shard
    job/                     what runs in a job's process
      v                      results/<study>/jobs/ (journal.py): submissions, markers and logs (log.py)
    view/                    what has become of it, on one screen; commands.py is what one types

Only this package imports `submitit`, and only where something is sent.
"""
