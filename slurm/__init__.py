"""Launching: shards of a study -> jobs, on this machine or on a SLURM cluster, and what has become of them.

    clusters/<name>.yaml     where jobs run (cluster.py checks it); never part of a run's identity
      v  submit.py           shards without results -> one submitit job array, one job a shard
    job.py, work.py          one job: lease -> study.run.run_shard -> marker; stops at a signal, safe to requeue
    several.py               one job that does several shards, each in a process and on a device of its own
      v                      results/<study>/jobs/ (journal.py): submissions, markers and logs
    status.py, overview.py   markers + squeue + sacct -> done, running, pending, held, failed, lost
    screen.py, log.py        both on one screen, with the line of a log that says why; commands.py is what one types

Only this package imports `submitit`, and only where something is sent.
"""
