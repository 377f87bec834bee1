"""Everything that decides a number: config -> jobs -> runs -> measures -> records.

    configs/<study>.yaml     what to run (a person writes this)
      v  study_file.py       yaml -> its sections, with those of the file it extends
      v  grid.py             sections -> RunConfigs, each with a run key; runs of one shape form a shard
    training/                trains all networks of a shard at once on one device
      v                      runs/<xx>/<key>/{config.json, init.pt, epochs.jsonl, outcome.json, stops/<stop>/weights.pt}
    measures/                runs/<xx>/<key>/stops/<stop>/<label>.json, one file a measure
      v  tracking/           mirrors configs, curves and measures to wandb; nothing reads it back
    records.py               results/<study>/records.csv, one tidy row a run and stop

Nothing here imports `slurm` or `analysis`; a test enforces it.
"""
