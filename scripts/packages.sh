#!/usr/bin/env bash
# Packages edgeproof-run into dist/: a Debian package, checked by lintian where it is installed, and a tarball with all its
# libraries but glibc's, and their licences, which requires patchelf. As root with debootstrap, `scripts/check-packages.sh`
# installs both.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p dist
rm -f dist/edgeproof-run*
cmake --preset package >/dev/null
cmake --build --preset package --parallel "$(nproc)"
(cd build/package && cpack -G DEB -B packages >cpack.log) || { cat build/package/cpack.log; exit 1; }
cp build/package/packages/*.deb dist/
if command -v lintian >/dev/null; then lintian --fail-on error --tag-display-limit 0 dist/edgeproof-run_*.deb; else echo "lintian is not installed: not checked" >&2; fi

# The tarball: bin/edgeproof-run and lib/, found by relative paths.
name=edgeproof-run-$(grep -oP '^version = "\K[^"]+' pyproject.toml)-linux-$(uname -m)
tree=build/package/$name
rm -rf "$tree" "$tree.deb"
mkdir -p "$tree"/{bin,lib,licenses}
dpkg-deb -x dist/edgeproof-run_*.deb "$tree.deb"
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
# What they need besides glibc, whose version must be that of the machine.
mapfile -t libraries < <(for file in "$tree"/bin/* "$tree"/lib/*; do
  LD_LIBRARY_PATH=$tree/lib ldd "$file"
done | grep -oP '=> \K/\S+' | sort -u |
  grep -vE '/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|resolv|util|anl|nsl|mvec))\.so' | grep -v "^$PWD")
cp -nL -t "$tree/lib" "${libraries[@]}"
scripts/library-licences.sh "$tree/licenses" "${libraries[@]}"
patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$tree/bin/edgeproof-run"
for file in "$tree"/lib/*; do patchelf --force-rpath --set-rpath '$ORIGIN' "$file"; done
tar --owner=0 --group=0 --numeric-owner --sort=name -czf "dist/$name.tar.gz" -C build/package "$name"
rm -rf "$tree" "$tree.deb"
ls -l dist/edgeproof-run*
