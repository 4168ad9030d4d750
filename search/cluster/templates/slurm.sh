#!/bin/bash
# A search on nodes that Slurm gives: sbatch slurm.sh search.yaml [search.trials=64 ...]
# Submit it from a folder that all nodes see, with the environment in which `thaw` is installed, also on all nodes.
# The same command goes on with the search, if it did not come to its end in time.
#SBATCH --job-name=thaw
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

search=${1:?usage: sbatch slurm.sh search.yaml [path=value ...]}
shift
port=${THAW_RAY_PORT:-$((20000 + SLURM_JOB_ID % 20000))}

# All who know this token may use the cluster, nobody else; the home folder is shared.
export RAY_AUTH_MODE=token
[ -s ~/.ray/auth_token ] || (umask 077 && ray get-auth-token --generate > /dev/null)

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address=${nodes[0]}:$port
# A node that is frozen is given up after seconds, not after a minute.
health='{"health_check_period_ms": 3000, "health_check_timeout_ms": 3000, "health_check_failure_threshold": 3}'

start() { # node, options of ray start
    local node=$1
    shift
    srun --nodes=1 --ntasks=1 --exact --cpus-per-task="$SLURM_CPUS_PER_TASK" \
        ${SLURM_GPUS_ON_NODE:+--gpus="$SLURM_GPUS_ON_NODE"} --nodelist="$node" \
        ray start --block --disable-usage-stats --num-cpus="$SLURM_CPUS_PER_TASK" \
        --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --node-name="$node" "$@" &
    started+=($!)
}

started=()
finish() {
    kill "${started[@]}" 2> /dev/null || true
    wait
}
trap finish EXIT

start "${nodes[0]}" --head --port="$port" --include-dashboard=false --system-config="$health"
for _ in $(seq 60); do
    ray health-check --address "$address" > /dev/null 2>&1 && break
    sleep 2
done
for node in "${nodes[@]:1}"; do
    start "$node" --address="$address"
done

thaw search "$search" --resume search.address="$address" "$@" &
searching=$!
# Slurm asks to stop two minutes before the time is over: running trials keep their checkpoints.
trap 'kill -TERM "$searching"' TERM
wait "$searching" || wait "$searching"
