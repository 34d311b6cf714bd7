#include "media/media.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "edgeproof/failure.h"
#include "edgeproof/spec.h"

namespace edgeproof::app {

const Media &media() {
    static const Media &loaded = []() -> const Media & {
        // OpenCV reads it when it is loaded: larger images are refused before memory is allocated for them.
        ::setenv("OPENCV_IO_MAX_IMAGE_PIXELS", std::to_string(spec::max_image_pixels).c_str(), 0);
        // Found through this program's RUNPATH: beside it in a build, in lib/edgeproof once installed.
        void *library = ::dlopen("edgeproof-media.so", RTLD_NOW);
        if (library == nullptr)
            throw unavailable("edgeproof-media.so, this program's part that needs OpenCV, does not load", ::dlerror(),
                              {}, "build or install it together with edgeproof-run (make app)");
        using Entry = const Media *(*)();
        const auto entry = reinterpret_cast<Entry>(::dlsym(library, "edgeproof_media"));
        if (entry == nullptr) throw unavailable("edgeproof-media.so is of another version of this program");
        return *entry();
    }();
    return loaded;
}

}  // namespace edgeproof::app
