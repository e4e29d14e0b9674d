# shellcheck shell=bash
# Sourced before the command of every job: source prefix.sh PYTHON KEY_VARIABLES
#   PYTHON         the Python that runs Snakemake
#   KEY_VARIABLES  the names of environment variables with API keys, joined by ":"

# It replaces Snakemake's own prefix. Without pipefail `STEP | tee` would succeed when STEP fails.
set -euo pipefail

# Slurm sends SIGTERM to every process of a job. The shell and tee wait until the step has saved its work.
trap : TERM
tee() ( trap '' TERM; exec tee "$@" )

# A temporary folder for each job, so that two jobs on a node never share one.
TMPDIR=$(mktemp -d -t "errata-${SLURM_JOB_ID:-$$}.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
# Code that comes with a model is copied there.
export HF_MODULES_CACHE=$TMPDIR/modules

# Jobs download nothing. Local rules fetch what is needed; their steps allow it themselves.
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1
export DO_NOT_TRACK=1 VLLM_NO_USAGE_STATS=1 WANDB_MODE=disabled

# Steps that need only the standard library run in the Python that runs Snakemake. Rules call it by this name, so that
# another Python, or a project that was moved, does not change their commands.
errata_python=$1
snakemake_python() ( exec "$errata_python" "$@" )

# Jobs find the package wherever they run and in every environment.
export PYTHONPATH=${BASH_SOURCE[0]%/*}
# Steps withhold these variables from servers and trainers.
export ERRATA_KEY_VARIABLES=$2
