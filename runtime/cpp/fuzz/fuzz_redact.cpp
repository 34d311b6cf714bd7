// Any text with an address in it: the password is gone, and what was redacted stays as it is.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "edgeproof/redact.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const std::string text(reinterpret_cast<const char *>(data), size);
    edgeproof::redact_address(text);
    edgeproof::without_credentials(text);
    const std::string found = edgeproof::redact(text + " rtsp://admin:QqSecretqQ@camera/1");
    if (found.find("QqSecretqQ") != std::string::npos) std::abort();
    return 0;
}
