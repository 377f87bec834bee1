"""What runs in a job's process; it is pickled, or started, where a study is sent.

shard.py, work.py        one shard: lease -> study.run.run_shard -> marker; stops at a signal, safe to requeue
several.py               several shards, each in a process and on a device of its own
assignment.py            what a job is to do; progress.py, mirror.py: what it says of itself, to its log and to wandb
"""
