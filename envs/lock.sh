#!/usr/bin/env bash
# Resolves the locks of this folder again: envs/lock.sh [NAME ...], e.g. envs/lock.sh serve-cpu; without a name, all.
# Nothing is installed. uv takes the index from its own settings (UV_INDEX, UV_FIND_LINKS, ...). Torch's CPU build comes
# from find-links when UV_FIND_LINKS names a folder with it, else from torch's own index.
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -eq 0 ]; then
  set -- *.in
fi
for name in "${@%.in}"; do
  # Linux on x86-64 only: the servers and trainers have no other wheels. Annotations are left out: they contain paths.
  options=(--python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links)
  if [ -z "${UV_FIND_LINKS:-}" ] && [ -z "${UV_TORCH_BACKEND:-}" ] && [[ $name == *-cpu ]] && [[ $name != serve-* ]]; then
    options+=(--torch-backend cpu)
  fi
  if [ -f "$name.overrides" ]; then
    options+=(--override "$name.overrides")
  fi
  echo "envs/$name.txt" >&2
  # written under another name first, so that a failed resolution keeps the old lock
  uv pip compile --quiet "${options[@]}" "$name.in" --output-file ".$name.txt"
  mv -- ".$name.txt" "$name.txt"
done
