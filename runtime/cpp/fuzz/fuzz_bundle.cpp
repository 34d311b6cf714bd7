// Any bytes as bundle.json: opened and its files looked for, or refused with an error.

#include <cstdint>

#include "edgeproof/bundle.h"
#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    static const edgeproof::fuzz::Folder folder;
    folder.write("bundle.json", data, size);
    try {
        auto bundle = edgeproof::Bundle::open(folder.path);
        bundle.contract_summary();
        bundle.base_precision();
        bundle.check_files();
    } catch (const edgeproof::Failure &) {
    } catch (const edgeproof::Error &) {
    }
    return 0;
}
