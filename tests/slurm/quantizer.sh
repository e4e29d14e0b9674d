#!/bin/sh
# Stands in for the quantizer's Python in a project under Slurm, where jobs count and not what they compute. Quantized,
# dequantized and converted models are copies, made in a moment; steps other than these run as they are.
set -eu
project=$(cd "$(dirname "$0")/../../.." && pwd)
case "$3" in
quantize | dequantize | gguf) step=$3 ;;
*) exec "$project/.envs/real-quantize-cpu/bin/python" "$@" ;;
esac
while [ $# -gt 1 ]; do
  case "$1" in
  --checkpoint) checkpoint=$2 ;;
  --output) output=$2 ;;
  esac
  shift
done
case "$step" in
gguf) cp -L results/smollm2-135m/base/model.gguf "$output" ;;
*) cp -rL "$checkpoint" "$output" ;;
esac
