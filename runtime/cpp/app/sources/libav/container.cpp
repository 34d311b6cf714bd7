#include "sources/libav/container.h"

extern "C" {
#include <libavutil/mem.h>
#include <libavutil/opt.h>
}

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <regex>
#include <sstream>
#include <utility>

#include "edgeproof/failure.h"
#include "edgeproof/spec.h"
#include "sources/libav/log.h"
#include "sources/text.h"

namespace edgeproof::app::libav {
namespace {

/// FFmpeg's line at the end of an HTTP response without a length.
constexpr const char *unknown_length = "should be 18446744073709551615";
constexpr const char *was_closed = "the connection was closed";
const std::string multipart = "multipart/x-mixed-replace";
constexpr const char *missing_segment = "Failed to open segment";  // FFmpeg's message of a playlist
/// KEY;VALUE|KEY;VALUE, as OpenCV reads it.
constexpr const char *options_variable = "OPENCV_FFMPEG_CAPTURE_OPTIONS";

/// FFmpeg refused a source.
struct OpenError {
    int code;
};

/// What the HTTP server said that it sends; empty without one.
std::string content_type_of(AVIOContext *io) {
    std::uint8_t *value = nullptr;
    if (av_opt_get(io, "mime_type", AV_OPT_SEARCH_CHILDREN, &value) < 0 || value == nullptr) return {};
    std::string type = lower(reinterpret_cast<const char *>(value));
    av_free(value);
    return type;
}

std::string first_bytes(const std::string &path) {
    std::string bytes(512, '\0');
    std::FILE *file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) return {};
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
    std::fclose(file);
    return bytes;
}

/// A codec for people: FFmpeg's name, else the container's four characters.
std::string name_of(const AVCodecParameters &codec) {
    if (codec.codec_id != AV_CODEC_ID_NONE) return avcodec_get_name(codec.codec_id);
    std::string tag;
    for (unsigned i = 0; i < 4; ++i) {
        const auto character = static_cast<char>(codec.codec_tag >> (8 * i) & 0xFF);
        if (std::isprint(static_cast<unsigned char>(character)) != 0) tag += character;
    }
    return tag.empty() ? "unknown" : tag;
}

/// TCP before UDP for RTSP, which loses packets without need, and what the environment sets.
void set_options(Dictionary &options, const std::string &url) {
    static const std::regex chosen("[?&](udp|multicast|http|tcp)\\b");
    const bool rtsp = url.compare(0, 5, "rtsp:") == 0 || url.compare(0, 6, "rtsps:") == 0;
    const char *others = std::getenv(options_variable);
    std::istringstream pairs(others != nullptr ? others : "");
    bool transport = false;
    for (std::string pair; std::getline(pairs, pair, '|');) {
        const std::string key = pair.substr(0, pair.find(';'));
        if (key.empty()) continue;
        options.set(key.c_str(), key.size() < pair.size() ? pair.substr(key.size() + 1) : "");
        transport = transport || key == "rtsp_transport";
    }
    if (rtsp && !transport && !std::regex_search(url, chosen)) options.set("rtsp_flags", "prefer_tcp");
}

/// A filter graph, and any text as a screen.
bool is_refused(const AVInputFormat &format) {
    return std::strcmp(format.name, "lavfi") == 0 || std::strcmp(format.name, "tty") == 0;
}

[[noreturn]] void refuse(const Address &address, const Cause &cause) {
    throw bad_input(address.name + ": cannot open", cause.got, "a decodable video, or a responding stream",
                    cause.fix.empty() ? address.fix : cause.fix);
}

}  // namespace

Container::Container(const Address &address) : address_(address) {
    LogLines log;
    interrupt_.allow(address.kind == Address::Kind::file ? 0 : address_.options.limits.open_s);
    try {
        open();
    } catch (const OpenError &error) {
        refuse(address_, cause_of_opening(error.code, log.lines));
    }
    cut_ = log.mention(missing_segment);
    choose_video();
}

void Container::open() {
    context_.reset(avformat_alloc_context());
    if (!context_) throw std::bad_alloc();
    context_->interrupt_callback = {Interrupt::callback, &interrupt_};
    context_->opaque = this;
    Dictionary options;
    std::string url = address_.target;
    if (address_.kind == Address::Kind::file) {
        url = "file:" + url;  // a name may hold a colon
    } else if (address_.kind == Address::Kind::pipe) {
        const int descriptor = url == "-" ? ::dup(STDIN_FILENO) : ::open(url.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (descriptor < 0) throw OpenError{AVERROR(errno)};
        bytes_ = bytes_of(descriptor, interrupt_);
        context_->pb = bytes_->context();
        url.clear();
    } else {
        default_open_ = context_->io_open;
        context_->io_open = open_io;
        set_options(options, url);
    }
    AVFormatContext *context = context_.release();  // freed by FFmpeg where it fails
    const int opened = avformat_open_input(&context, url.c_str(), nullptr, &options.entries);
    context_.reset(context);
    if (opened < 0) throw OpenError{opened};
    if (is_refused(*context_->iformat)) throw OpenError{AVERROR_INVALIDDATA};
    const int described = avformat_find_stream_info(context_.get(), nullptr);
    if (interrupt_.due()) throw OpenError{AVERROR_EXIT};
    if (described < 0) throw OpenError{described};
}

int Container::open_io(AVFormatContext *context, AVIOContext **io, const char *url, int flags,
                       AVDictionary **options) {
    auto *self = static_cast<Container *>(context->opaque);
    const int opened = self->default_open_(context, io, url, flags, options);
    // The address itself comes first, then what a playlist names.
    if (opened < 0 || !self->content_type_.empty()) return opened;
    self->content_type_ = content_type_of(*io);
    if (self->content_type_.compare(0, multipart.size(), multipart) != 0) return opened;
    self->bytes_ = with_first_boundary(*io);
    if (self->bytes_) {
        *io = self->bytes_->context();
        context->flags |= AVFMT_FLAG_CUSTOM_IO;  // `bytes_` closes what it reads from
    }
    return opened;
}

void Container::choose_video() {
    const auto is_video = [this](int index) {
        const AVStream &stream = *context_->streams[index];
        const bool cover = (stream.disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;  // of a song
        return stream.codecpar->codec_type == AVMEDIA_TYPE_VIDEO && !cover;
    };
    const int count = static_cast<int>(context_->nb_streams);
    int chosen = av_find_best_stream(context_.get(), AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
    if (chosen < 0 || !is_video(chosen))
        for (chosen = 0; chosen < count && !is_video(chosen);) ++chosen;
    std::string others;
    for (int i = 0; i < count; ++i) {
        AVStream &stream = *context_->streams[i];
        if (i == chosen) continue;
        stream.discard = AVDISCARD_ALL;
        const char *kind = av_get_media_type_string(stream.codecpar->codec_type);
        others += (others.empty() ? "" : ", ") + std::string(kind != nullptr ? kind : "data") + " (" +
                  name_of(*stream.codecpar) + ")";
    }
    if (chosen == count) refuse(address_, no_video(others));
    video_ = context_->streams[chosen];
    decoder_ = avcodec_find_decoder(video_->codecpar->codec_id);
    if (decoder_ == nullptr) refuse(address_, no_decoder(name_of(*video_->codecpar)));
}

PacketHandle Container::read(bool live) {
    PacketHandle packet(av_packet_alloc());
    if (!packet) throw std::bad_alloc();
    LogLines log;
    // A pipe waits as long as its writer takes.
    interrupt_.allow(address_.kind == Address::Kind::url ? address_.options.limits.read_s : 0);
    lost_packets_ = false;
    while (true) {
        const int error = av_read_frame(context_.get(), packet.get());
        lost_packets_ = lost_packets_ || log.mention("RTP: missed");
        const bool closed = log.mention(unknown_length);
        closed_ = closed_ || closed;
        cut_ = cut_ || (!closed && log.mention("prematurely")) || log.mention("partial file") ||
               log.mention("truncat") || log.mention(missing_segment);
        if (error >= 0) {
            failed_in_a_row_ = 0;
            if (packet->stream_index == video_->index) return packet;
            av_packet_unref(packet.get());
            continue;
        }
        const bool stopped = interrupt_.due();
        const bool invalid = error == AVERROR_INVALIDDATA || error == AVERROR(EAGAIN);
        if (invalid && !stopped) {
            lost_packets_ = cut_ = true;
            if (++failed_in_a_row_ < (live ? spec::broken_in_a_row_live : spec::broken_in_a_row)) continue;
            if (closed_) ended_by_ = was_closed;
        } else if (interrupt_.expired()) {
            std::array<char, 32> text{};
            std::snprintf(text.data(), text.size(), "no data for %g s", address_.options.limits.read_s);
            ended_by_ = text.data();
        } else if (!stopped) {
            // A connection that breaks ends the file all the same.
            const int broken = context_->pb != nullptr ? context_->pb->error : 0;
            const int code = error == AVERROR_EOF && broken != 0 ? broken : error;
            if (code != AVERROR_EOF) ended_by_ = closed_ ? was_closed : error_text(code);
        }
        return nullptr;
    }
}

Cause Container::cause_of_opening(int error, const std::vector<std::string> &log) const {
    const double open_limit_s = address_.options.limits.open_s;
    Cause cause = cause_of(error, log, interrupt_.expired() ? std::optional<double>(open_limit_s) : std::nullopt);
    const bool over_http = address_.target.compare(0, 5, "http:") == 0 || address_.target.compare(0, 6, "https:") == 0;
    if (cause.key == "closed" && address_.kind != Address::Kind::url) cause = cut_off();
    if (cause.key == "other" && error == AVERROR(EIO) && over_http) cause = no_answer();
    const bool may_be_page = cause.key == "not-video" || cause.key == "no-index" || cause.key == "closed" ||
                             cause.key == "cut" || cause.key == "other" || cause.key == "timeout";
    const bool page = content_type_.compare(0, 9, "text/html") == 0 ||
                      (address_.kind == Address::Kind::file && is_html(first_bytes(address_.target)));
    return may_be_page && page ? html_page() : cause;
}

}  // namespace edgeproof::app::libav
