#include "sources/libav.h"

#include <dlfcn.h>

#include <opencv2/core.hpp>

namespace edgeproof::app {
namespace {

struct Loaded {
    const Libav *functions = nullptr;
    std::string missing;
};

const Loaded &loaded() {
    static const Loaded found = []() -> Loaded {
#ifdef EDGEPROOF_LIBAV
        // Found through this program's RUNPATH: beside it in a build, in lib/edgeproof once installed.
        void *library = ::dlopen("edgeproof-libav.so", RTLD_NOW);
        if (library == nullptr) return {nullptr, ::dlerror()};
        using Entry = const Libav *(*)();
        const auto entry = reinterpret_cast<Entry>(::dlsym(library, "edgeproof_libav"));
        if (entry == nullptr) return {nullptr, "edgeproof-libav.so is of another version of this program"};
        return {entry(), {}};
#else
        return {nullptr, "built without FFmpeg's libraries"};
#endif
    }();
    return found;
}

}  // namespace

const Libav *ffmpeg() { return loaded().functions; }

std::string video_reader() {
    if (ffmpeg() != nullptr) return "FFmpeg " + ffmpeg()->version();
    return std::string("OpenCV ") + cv::getVersionString() + " (" + ffmpeg_missing() + ")";
}

std::string ffmpeg_note() {
    return "OpenCV reads this source, without status codes, timestamps and the detection of damaged frames: " +
           ffmpeg_missing();
}

const std::string &ffmpeg_missing() { return loaded().missing; }

}  // namespace edgeproof::app
