#!/bin/bash
# Slurm: one Ray node per machine of the job, one study on all of them; submitted again, the study goes on.
#
#   sbatch experiments/cluster/slurm.sh experiments/report.toml --name report
#
# What follows the script's name goes to tune_mnist.grid. Submit it in a folder that every machine sees, with the
# package's environment active.

#SBATCH --job-name=tune-mnist
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120

set -euo pipefail

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
address=$(srun --overlap --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | cut -d' ' -f1)
port=$((20000 + SLURM_JOB_ID % 20000))

# The token lives as long as the job, in a folder that every machine sees and no other user can read.
umask 077
token=$PWD/.ray_token_$SLURM_JOB_ID
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token

ray=(--block --disable-usage-stats --num-cpus="$SLURM_CPUS_PER_TASK" --temp-dir="/tmp/ray-$SLURM_JOB_ID")
srun --overlap --nodes=1 --ntasks=1 -w "$head" \
  ray start --head --node-ip-address="$address" --port="$port" "${ray[@]}" &
nodes=($!)
for host in "${hosts[@]:1}"; do
  srun --overlap --nodes=1 --ntasks=1 -w "$host" \
    ray start --address="$address:$port" "${ray[@]}" &
  nodes+=($!)
done

study=
finish() {
  [ -z "$study" ] || { kill -TERM "$study" 2>/dev/null && wait "$study"; } || true
  kill "${nodes[@]}" 2>/dev/null || true
  rm -f "$token"
}
trap finish EXIT
trap 'exit 130' TERM INT

for try in {1..60}; do
  ray health-check --address "$address:$port" >/dev/null 2>&1 && break
  [ "$try" -lt 60 ] || { echo "Ray did not start on $head within five minutes" >&2; exit 1; }
  sleep 5
done

# In the background, so that Slurm's warning signal is heard at once; nodes that come later get work as they come.
srun --overlap --nodes=1 --ntasks=1 -w "$head" \
  python -m tune_mnist.grid --address "$address:$port" "$@" &
study=$!
wait "$study"
