// The library edgeproof-signing.so: signatures through OpenSSL's libcrypto.

#include "signing/openssl.h"

extern "C" const edgeproof::Crypto *edgeproof_signing() { return &edgeproof::app::openssl(); }
