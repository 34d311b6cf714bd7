// The library edgeproof-libav.so: capture through FFmpeg's own libraries.

extern "C" {
#include <libavformat/avformat.h>
#include <libavutil/avutil.h>
}

#include "sources/libav/log.h"
#include "sources/libav/source.h"

namespace edgeproof::app::libav {
namespace {

std::string version() { return av_version_info(); }

constexpr Libav functions{open_source, version};

}  // namespace
}  // namespace edgeproof::app::libav

extern "C" const edgeproof::app::Libav *edgeproof_libav() {
    edgeproof::app::libav::take_log();
    avformat_network_init();
    return &edgeproof::app::libav::functions;
}
