#!/usr/bin/env bash
# Copies into FOLDER what the licences of LIBRARIES require to be passed on with them: the copyright file of the Debian package
# that each comes from, the common licences that those name, and packages.txt with each package's version and source.
# Exit code 1 if a library belongs to no package, or its package has no copyright file.
# Usage: scripts/library-licences.sh FOLDER LIBRARY...
set -euo pipefail
folder=$1
shift
mkdir -p "$folder"

# dpkg knows a file by the path that its package has, in /lib or in /usr/lib. One search for all: it reads the whole database.
paths=()
for library in "$@"; do
  real=$(realpath "$library")
  paths+=("$real" "${real#/usr}" "/usr$real")
done
declare -A owner
while IFS= read -r line; do
  packages_of=${line%%: *} # such as zlib1g:amd64, which a Debian may have for several architectures
  owner[${line#*: }]=${packages_of%%,*}
done < <(dpkg-query --search "${paths[@]}" 2>/dev/null)
packages=()
for library in "$@"; do
  real=$(realpath "$library")
  package=${owner[$real]:-${owner[${real#/usr}]:-${owner[/usr$real]:-}}}
  [ -n "$package" ] || { echo "$library: no Debian package has this library: its licence is not known" >&2; exit 1; }
  packages+=("$package")
done
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
for package in "${packages[@]}"; do
  name=${package%:*}
  text=/usr/share/doc/$name/copyright
  [ -s "$text" ] || { echo "$package: has no $text" >&2; exit 1; }
  cp -L "$text" "$folder/$name.txt"
done
{ grep -oh '/usr/share/common-licenses/[A-Za-z0-9.+-]*[A-Za-z0-9+]' "$folder"/*.txt || true; } | sort -u | while read -r licence; do
  [ ! -e "$licence" ] || { mkdir -p "$folder/common-licenses" && cp -L "$licence" "$folder/common-licenses/"; }
done
dpkg-query --show --showformat '${binary:Package} ${Version}, source ${source:Package} ${source:Version}\n' \
  "${packages[@]}" >"$folder/packages.txt"
