// Any bytes as a JSON document: parsed, or refused with an error; the check in little memory says the same.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "edgeproof/error.h"
#include "edgeproof/json.h"
#include "edgeproof/spec.h"

namespace {

template <typename F>
bool accepts(F &&read) {
    try {
        read();
        return true;
    } catch (const edgeproof::Error &) {
        return false;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char *>(data), size);
    const bool parsed = accepts([&] { edgeproof::json::parse(text); });
    const bool checked = accepts([&] { edgeproof::json::check(text, edgeproof::spec::max_json_bytes); });
    if (parsed != checked) std::abort();
    return 0;
}
