#pragma once

#include <filesystem>

#include "edgeproof/bundle.h"
#include "edgeproof/signatures.h"

namespace edgeproof::app {

/// OpenSSL's libcrypto behind `Crypto`: the library edgeproof-signing.so, loaded when a signature is required.
/// Throws `Failure` (unavailable): it does not load, or this program was built without it.
const Crypto &crypto();

/// Open a bundle that the signers of a key, certificates or a policy must have signed; an empty path requires no
/// signature. Prints who signed it. Throws like `Bundle::open` and `require_signed`.
Bundle open_trusted(const std::filesystem::path &bundle, const std::filesystem::path &trust);

}  // namespace edgeproof::app
