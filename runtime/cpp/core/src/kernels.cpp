#include "kernels.h"

namespace edgeproof::detail {

const std::vector<const Kernels *> &supported_kernels() {
    static const std::vector<const Kernels *> supported = [] {
        std::vector<const Kernels *> found;
        for (const Kernels *kernels : {
#if defined(__x86_64__)
                 &avx512_kernels, &avx2_kernels,
#elif defined(__aarch64__)
                 &neon_kernels,
#endif
                     &portable_kernels
             })
            if (kernels->supported()) found.push_back(kernels);
        return found;
    }();
    return supported;
}

}  // namespace edgeproof::detail
