#!/bin/bash

# Parameters
#SBATCH --array=0-5%4
#SBATCH --cpus-per-task=1
#SBATCH --error=/TMP/results/tiny/jobs/logs/0001-ID/%A_%a_0_log.err
#SBATCH --gres=gpu:1
#SBATCH --job-name=tiny.0001-ID
#SBATCH --mem=922MB
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/TMP/results/tiny/jobs/logs/0001-ID/%A_%a_0_log.out
#SBATCH --partition=main
#SBATCH --requeue
#SBATCH --signal=USR2@60
#SBATCH --time=10

# setup
export PYTHONSAFEPATH=1
export PYTHONPATH=/TMP/results/.code/COMMIT
export STUDY_COMMIT=COMMIT
export OMP_NUM_THREADS=1
export STUDY_DATA=/data
unset WANDB_SERVICE

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /TMP/results/tiny/jobs/logs/0001-ID/%A_%a_%t_log.out --error /TMP/results/tiny/jobs/logs/0001-ID/%A_%a_%t_log.err --cpus-per-task=1 /PYTHON -u -m submitit.core._submit /TMP/results/tiny/jobs/logs/0001-ID
