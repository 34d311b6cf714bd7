// Any bytes as the text of a contract: parsed, or refused with an error. Seeds: the contracts of tests/golden.

#include <cstdint>
#include <string_view>

#include "edgeproof/contract.h"
#include "edgeproof/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    try {
        const auto contract = edgeproof::parse_contract({reinterpret_cast<const char *>(data), size});
        contract.validate();
    } catch (const edgeproof::Error &) {
    }
    return 0;
}
