# arm64 in a Debian that has arm64's packages beside its own (scripts/packages-arm64.sh makes one). Its libraries lie where
# arm64's compiler and CMake look by themselves; programs run where the kernel knows qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR /usr/bin/env) # the kernel finds the emulator
set(CMAKE_INSTALL_LIBDIR lib/aarch64-linux-gnu CACHE PATH "") # GNUInstallDirs takes lib where it cross-compiles
set(EDGEPROOF_DEBIAN_ARCHITECTURE arm64)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
