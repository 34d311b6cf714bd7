// Any bytes as a .npy file: an array of exactly its bytes, or refused with an error.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "edgeproof/failure.h"
#include "npy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    try {
        const edgeproof::Npy array =
            edgeproof::parse_npy(std::string(reinterpret_cast<const char *>(data), size), "x.npy", "");
        std::size_t values = 1;
        for (const std::int64_t side : array.shape) values *= static_cast<std::size_t>(side);
        if (edgeproof::values_of(array).size() != values) std::abort();
    } catch (const edgeproof::Failure &) {
    }
    return 0;
}
