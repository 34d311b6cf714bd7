// Any text with an address in it: the password is gone, and what was redacted stays as it is.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "edgeproof/redact.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const std::string secret = "QqSecretqQ";
    const std::string text(reinterpret_cast<const char *>(data), size);
    if (text.find(secret) != std::string::npos) return 0;  // the fuzzer learns it from the comparison below
    edgeproof::redact_address(text);
    edgeproof::without_credentials(text);
    const std::string found = edgeproof::redact(text + " rtsp://admin:" + secret + "@camera/1");
    if (found.find(secret) != std::string::npos) std::abort();
    return 0;
}
