"""Everything that decides a number: config -> jobs -> runs -> measures -> records.

    configs/<study>.yaml     what to run (a person writes this)
      v  study_file.py       yaml -> its sections, with those of the file it extends
      v  grid.py             sections -> RunConfigs, each with a run key; runs of one shape form a shard
    planning/                what a call would do, and how long it takes
    run.py                   one shard: training/ (with the entries of seams/) -> measuring.py, on a device.py
      v                      runs/<xx>/<key>/{config.json, init.pt, epochs.jsonl, outcome.json, stops/<stop>/weights.pt}
    measures/                runs/<xx>/<key>/stops/<stop>/<label>.json, one file a measure
      v  tracking/           mirrors configs, curves and measures to wandb; nothing reads it back
    records.py               results/<study>/records.csv, one tidy row a run and stop
      v  publishing/         analysis/records/<study>.csv, committed
    audit/ again/            beside the records: measures of networks that were changed (audit.csv), and taken a second
                             time (repeats.csv, searches.csv); published with them
    ledger/                  the same measures of anybody's checkpoints -> a ledger, which analysis/ reads
    reference/               the tables of the pages that are made of this code

Ground, which imports next to nothing: names (labels, stops), loss, seeds, provenance, storage/ (files and roots).
Nothing here imports `slurm` or `analysis`, nothing goes in circles; a test enforces both.
"""
