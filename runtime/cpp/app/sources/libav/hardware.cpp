#include "sources/libav/hardware.h"

extern "C" {
#include <libavutil/hwcontext.h>
}

#include <array>
#include <new>
#include <utility>

#include "sources/libav/log.h"

namespace edgeproof::app::libav {
namespace {

constexpr std::array<std::pair<AVHWDeviceType, const char *>, 3> devices{
    {{AV_HWDEVICE_TYPE_CUDA, "CUDA"}, {AV_HWDEVICE_TYPE_QSV, "QSV"}, {AV_HWDEVICE_TYPE_VAAPI, "VAAPI"}}};

/// The form of frames in which a device holds what it decodes of a codec; none where it does not decode it.
AVPixelFormat format_of(const AVCodec &codec, AVHWDeviceType device) {
    for (int i = 0;; ++i) {
        const AVCodecHWConfig *config = avcodec_get_hw_config(&codec, i);
        if (config == nullptr) return AV_PIX_FMT_NONE;
        if (config->device_type == device && (config->methods & AV_CODEC_HW_CONFIG_METHOD_HW_DEVICE_CTX) != 0)
            return config->pix_fmt;
    }
}

}  // namespace

std::unique_ptr<Hardware> Hardware::of(const AVCodec &codec) {
    const LogLines missing;  // FFmpeg's complaints about devices that are not here
    for (const auto &[type, name] : devices) {
        const AVPixelFormat format = format_of(codec, type);
        if (format == AV_PIX_FMT_NONE) continue;
        AVBufferRef *device = nullptr;
        if (av_hwdevice_ctx_create(&device, type, nullptr, nullptr, 0) < 0) continue;
        auto found = std::make_unique<Hardware>();
        found->device_.reset(device);
        found->name_ = name;
        found->format_ = format;
        return found;
    }
    return nullptr;
}

void Hardware::attach(AVCodecContext &context) {
    context.hw_device_ctx = av_buffer_ref(device_.get());
    if (context.hw_device_ctx == nullptr) throw std::bad_alloc();
    context.opaque = this;
    context.get_format = choose;
}

AVPixelFormat Hardware::choose(AVCodecContext *context, const AVPixelFormat *offered) {
    auto *self = static_cast<Hardware *>(context->opaque);
    for (const AVPixelFormat *format = offered; *format != AV_PIX_FMT_NONE; ++format)
        if (*format == self->format_) return *format;
    self->refused_ = true;
    return avcodec_default_get_format(context, offered);
}

FrameHandle Hardware::fetched(FrameHandle frame) const {
    if (frame->format != format_) return frame;
    FrameHandle copy(av_frame_alloc());
    if (!copy) throw std::bad_alloc();
    if (av_hwframe_transfer_data(copy.get(), frame.get(), 0) < 0 || av_frame_copy_props(copy.get(), frame.get()) < 0)
        return nullptr;
    return copy;
}

}  // namespace edgeproof::app::libav
