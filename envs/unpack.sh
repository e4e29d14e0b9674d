#!/bin/sh
# Makes an unpacked bundle run in its folder: sh envs/unpack.sh [--python PATH]. Run it again after moving the folder.
# It uses the Python of the bundle if that runs here, else a Python 3.11 of the machine, which all nodes then need too.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONHOME PYTHONPATH
check='import sys, bz2, ctypes, hashlib, lzma, sqlite3, ssl, zlib; assert sys.version_info[:2] == (3, 11), sys.version'
case "${1:-}" in
"") ;;
--python) set -- "${2:?--python needs a path}" ;;
*) echo "usage: sh envs/unpack.sh [--python PATH]" >&2; exit 2 ;;
esac
for python in ${1+"$1"} .envs/python/bin/python3.11 python3.11 python3; do
  if said=$("$python" -c "$check" 2>&1); then
    exec env PYTHONPATH=workflow "$python" -m errata relocate
  fi
  if [ -e "$python" ]; then
    printf '%s cannot be used: %s\n' "$python" "$said" >&2
  fi
  if [ $# -gt 0 ]; then
    exit 1
  fi
done
echo "No Python 3.11 with its whole standard library was found: load or install one, then" >&2
echo "sh envs/unpack.sh --python /path/to/python3.11" >&2
exit 1
