#!/usr/bin/env bash
# Packages edgeproof-run into dist/: a Debian package, checked by lintian where it is installed, and a tarball with all its
# libraries but glibc's, and their licences, which requires patchelf. As root with debootstrap, `scripts/check-packages.sh`
# installs both. PRESET package-arm64 is for `scripts/packages-arm64.sh`.
# Usage: scripts/packages.sh [PRESET [CMAKE ARGUMENT...]]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-package}
architecture=$(uname -m)
debian=$(dpkg --print-architecture)
case $preset in *-arm64) architecture=aarch64 debian=arm64 ;; esac
mkdir -p dist
rm -rf "build/$preset/packages"
rm -f dist/edgeproof-run_*_"$debian".deb dist/edgeproof-run-*-"$architecture".tar.gz
cmake --preset "$preset" "${@:2}" >/dev/null
cmake --build --preset "$preset" --parallel "${JOBS:-$(nproc)}"
# dpkg-shlibdeps looks for libraries of this architecture
(cd "build/$preset" && DEB_HOST_ARCH=$debian cpack -G DEB -B packages >cpack.log) || { cat "build/$preset/cpack.log"; exit 1; }
package=$(echo "build/$preset"/packages/*.deb)
cp "$package" dist/
if command -v lintian >/dev/null; then lintian --fail-on error --tag-display-limit 0 "$package"; else echo "lintian is not installed: not checked" >&2; fi

# The tarball: bin/edgeproof-run and lib/, found by relative paths.
name=edgeproof-run-$(grep -oP '^version = "\K[^"]+' pyproject.toml)-linux-$architecture
tree=build/$preset/$name
rm -rf "$tree" "$tree.deb"
mkdir -p "$tree"/{bin,lib,licenses}
dpkg-deb -x "$package" "$tree.deb"
cp "$tree.deb/usr/bin/edgeproof-run" "$tree/bin/"
cp "$tree.deb"/usr/lib/*/edgeproof/*.so "$tree.deb"/usr/lib/*/edgeproof/openvino/* "$tree/lib/"
documents=$tree.deb/usr/share/doc/edgeproof-run
cp "$documents/copyright" LICENSE "$tree/"
cp -r "$documents/openvino" "$tree/licenses/"
for library in "$tree.deb"/usr/lib/*/edgeproof/openvino/*; do
  named=
  while read -r pattern; do
    # shellcheck disable=SC2053 # a pattern
    [[ $pattern == '*' || ${library#"$tree.deb"/} != $pattern ]] || named=1
  done < <(sed -n 's/^Files: //p' "$documents/copyright")
  [ -n "$named" ] || { echo "cmake/debian/copyright: no Files: names ${library#"$tree.deb"/}" >&2; exit 1; }
done
# What they need besides glibc, whose version must be that of the machine. The program's own loader lists it: ldd knows only
# this machine's.
loader=$(patchelf --print-interpreter "$tree/bin/edgeproof-run")
listed=$(for file in "$tree"/bin/* "$tree"/lib/*; do LD_LIBRARY_PATH=$tree/lib "$loader" --list "$file"; done)
if grep 'not found' <<<"$listed" >&2; then exit 1; fi
mapfile -t libraries < <(grep -oP '=> \K/\S+' <<<"$listed" | sort -u |
  grep -vE '/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|resolv|util|anl|nsl|mvec))\.so' | grep -v "^$PWD")
cp -nL -t "$tree/lib" "${libraries[@]}"
scripts/library-licences.sh "$tree/licenses" "${libraries[@]}"
cp docs/tarball.md "$tree/README.md"
for source in $(grep -oP '^\| \K[a-z0-9]+(?= \| lib)' docs/tarball.md); do
  grep -q "source $source " "$tree/licenses/packages.txt" || { echo "docs/tarball.md: $source is not inside" >&2; exit 1; }
done
patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$tree/bin/edgeproof-run"
for file in "$tree"/lib/*; do patchelf --force-rpath --set-rpath '$ORIGIN' "$file"; done
tar --owner=0 --group=0 --numeric-owner --sort=name -czf "dist/$name.tar.gz" -C "build/$preset" "$name"
rm -rf "$tree" "$tree.deb"
ls -l dist/edgeproof-run*
