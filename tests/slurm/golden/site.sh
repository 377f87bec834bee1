#!/bin/bash

# Parameters
#SBATCH --account=my-project
#SBATCH --array=0-5%6
#SBATCH --constraint='a100|h100'
#SBATCH --cpus-per-task=2
#SBATCH --error=/TMP/results/tiny/jobs/logs/0001-ID/%A_%a_0_log.err
#SBATCH --gres=gpu:1
#SBATCH --job-name=tiny.0001-ID
#SBATCH --mail-type=FAIL
#SBATCH --mem=16384MB
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/TMP/results/tiny/jobs/logs/0001-ID/%A_%a_0_log.out
#SBATCH --partition=gpu-preempt
#SBATCH --qos=normal
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=120

# setup
module load cuda/13.0
ulimit -n 4096
export CUBLAS_WORKSPACE_CONFIG=:4096:8
export PYTHONSAFEPATH=1
export PYTHONPATH=/TMP/results/.code/COMMIT
export STUDY_COMMIT=COMMIT
export OMP_NUM_THREADS=1
export STUDY_DATA=/TMP/shared/datasets
unset WANDB_SERVICE

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /TMP/results/tiny/jobs/logs/0001-ID/%A_%a_%t_log.out --error /TMP/results/tiny/jobs/logs/0001-ID/%A_%a_%t_log.err --cpus-per-task=2 /TMP/shared/me/relative-flatness-study/.venv/bin/python -u -m submitit.core._submit /TMP/results/tiny/jobs/logs/0001-ID
