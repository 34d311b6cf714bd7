#include "signing/signing.h"

#include <dlfcn.h>

#include <string>

#include "edgeproof/failure.h"
#include "system/terminal.h"

namespace edgeproof::app {

const Crypto &crypto() {
    static const Crypto &loaded = []() -> const Crypto & {
#ifdef EDGEPROOF_SIGNING
        // Found through this program's RUNPATH: beside it in a build, in lib/edgeproof once installed.
        void *library = ::dlopen("edgeproof-signing.so", RTLD_NOW);
        if (library == nullptr)
            throw unavailable("edgeproof-signing.so, this program's part that verifies signatures, does not load",
                              ::dlerror(), {}, "install it and OpenSSL's libcrypto together with edgeproof-run");
        using Entry = const Crypto *(*)();
        const auto entry = reinterpret_cast<Entry>(::dlsym(library, "edgeproof_signing"));
        if (entry == nullptr) throw unavailable("edgeproof-signing.so is of another version of this program");
        return *entry();
#else
        throw unavailable("--trust: this program was built without OpenSSL's libcrypto", {}, {},
                          "install libssl-dev and build it again");
#endif
    }();
    return loaded;
}

Bundle open_trusted(const std::filesystem::path &bundle, const std::filesystem::path &trust) {
    if (trust.empty()) return Bundle::open(bundle);
    const TrustPolicy policy = TrustPolicy::read(trust, crypto());
    Bundle opened =
        Bundle::open(bundle, [&policy](const std::filesystem::path &folder) { return require_signed(folder, policy, crypto()); });
    warn("%s\n", opened.signed_by->note().c_str());
    return opened;
}

}  // namespace edgeproof::app
