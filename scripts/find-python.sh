# Sourced: find_python VERSION prints the Python of a version such as 3.10, from PATH or pyenv.
# A shim of pyenv may be on PATH without a Python behind it.
find_python() {
  local found
  for found in "$(command -v "python$1")" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    [ -n "$found" ] && "$found" -c '' 2>/dev/null && echo "$found" && return
  done
  return 1
}
