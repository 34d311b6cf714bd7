#include "sources/libav.h"

#include <dlfcn.h>

#include <opencv2/core.hpp>

#include "edgeproof/failure.h"
#include "media/media.h"

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
    return std::string("OpenCV ") + cv::getVersionString() + " (" + loaded().missing + ")";
}

std::unique_ptr<Source> open_capture(const Address &address) {
    if (ffmpeg() != nullptr) return ffmpeg()->open(address);
    if (address.kind == Address::Kind::pipe)
        throw bad_input(address.name + ": cannot open", loaded().missing, "FFmpeg's libraries, which read pipes",
                        "install them and build edgeproof-run again");
    const Media::Kind kind = address.kind == Address::Kind::url ? Media::Kind::url : Media::Kind::file;
    std::unique_ptr<Source> source = media().open_video(kind, address.target, address.name, address.fix, address.options.limits);
    source->notes.push_back(
        "OpenCV reads this source, without status codes, timestamps and the detection of damaged frames: " +
        loaded().missing);
    if (address.options.hardware_decode) source->notes.push_back(not_granted);
    return source;
}

}  // namespace edgeproof::app
