#!/usr/bin/env bash
# Training on two nodes with Slurm. Flags of train.py follow the name of the script:
#
#     sbatch docs/slurm.sh --task custom --data /shared/pairs.parquet --text-columns a,b --label-column y
#
# Run it in the checkout. The checkout, --runs-dir and HF_HOME must be on a file system that all nodes share. Shortly
# before the time limit the run saves a checkpoint and the job is requeued. It keeps its id, which is the id of the
# rendezvous, too, by which the run is found and resumed.
#SBATCH --job-name=pairft
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
set -euo pipefail

first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export HF_HOME=${HF_HOME:-$HOME/.cache/huggingface}
# Time for the last step and its checkpoint between SIGTERM and SIGKILL; torchrun's default is 30 s.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-200}

# A port for each job, so that two jobs on a node don't meet.
srun --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" -m torch.distributed.run \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${PROCESSES_PER_NODE:-gpu}" --max-restarts 3 \
    --rdzv-backend c10d --rdzv-endpoint "$first_node:$((20000 + SLURM_JOB_ID % 10000))" --rdzv-id "$SLURM_JOB_ID" \
    train.py "$@" &
training=$!

stopping=no
trap 'stopping=yes; kill -TERM "$training"' USR1
code=0
wait "$training" || code=$?
if [ "$stopping" = yes ]; then  # the signal has ended the first wait
    code=0
    wait "$training" || code=$?
    if [ "$code" != 0 ]; then
        scontrol requeue "$SLURM_JOB_ID"
    fi
fi
exit "$code"
