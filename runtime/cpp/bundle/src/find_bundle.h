#pragma once

#include <filesystem>

namespace edgeproof {

/// The folder of a bundle; after an interrupted replacement the old bundle is moved back first. The same rules as
/// `edgeproof_runtime.bundle.replacing.find_bundle`.
std::filesystem::path find_bundle(const std::filesystem::path &folder);

}  // namespace edgeproof
