#!/bin/bash
# Hands a search to a Ray cluster that runs: job.sh search.yaml [search.trials=64 ...]
# The files of this folder travel along; data and runs lie on storage that all nodes see, under the same path.
# The same command goes on with the search, if it did not come to its end.
set -euo pipefail

search=${1:?usage: job.sh search.yaml [path=value ...]}
shift
# The head node's dashboard, which listens on the head node only: ssh -L 8265:127.0.0.1:8265 HEAD, or ray dashboard aws.yaml
address=${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}
runs=${THAW_RUNS:-/shared/runs}

# The cluster's token: in ~/.ray/auth_token, RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN.
export RAY_AUTH_MODE=token
exec ray job submit --address "$address" --working-dir . -- \
    thaw search "$search" --resume --runs "$runs" search.address=auto "$@"
