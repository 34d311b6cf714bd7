#pragma once

#include "edgeproof/signatures.h"

namespace edgeproof::app {

/// `Crypto` by OpenSSL's libcrypto, 1.1.1 or newer.
const Crypto &openssl();

}  // namespace edgeproof::app
