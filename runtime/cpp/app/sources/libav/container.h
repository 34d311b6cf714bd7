#pragma once

#include <memory>
#include <string>

#include "sources/libav.h"
#include "sources/libav/bytes.h"
#include "sources/libav/causes.h"
#include "sources/libav/handles.h"
#include "sources/libav/interrupt.h"

namespace edgeproof::app::libav {

/// A file, address or pipe that gives the packets of one video.
class Container {
  public:
    /// Throws `Failure` (bad input) with the cause and its fix.
    explicit Container(const Address &address);

    AVFormatContext &context() const { return *context_; }
    const AVStream &video() const { return *video_; }
    const AVCodec &decoder() const { return *decoder_; }

    /// The next packet of the video; null at the end.
    PacketHandle read(bool live);

    /// Whether packets were lost before the one that was read last, as far as the demuxer noticed.
    bool lost_packets() const { return lost_packets_; }
    /// Whether the demuxer found the file cut off or damaged.
    bool cut() const { return cut_; }
    /// Why there are no more packets; empty at an ordinary end.
    const std::string &ended_by() const { return ended_by_; }

    /// End a call that waits, from any thread.
    void cancel() { interrupt_.cancel(); }

  private:
    static int open_io(AVFormatContext *context, AVIOContext **io, const char *url, int flags, AVDictionary **options);

    void open();
    void choose_video();
    Cause cause_of_opening(int error, const std::vector<std::string> &log) const;

    Address address_;
    Interrupt interrupt_;
    std::string content_type_;      ///< what an HTTP server says that it sends
    std::unique_ptr<Bytes> bytes_;  ///< outlives the context, which reads it
    decltype(AVFormatContext::io_open) default_open_ = nullptr;
    FormatHandle context_;
    const AVStream *video_ = nullptr;    ///< owned by the context
    const AVCodec *decoder_ = nullptr;   ///< FFmpeg's own
    std::string ended_by_;
    int failed_in_a_row_ = 0;
    bool lost_packets_ = false;
    bool closed_ = false;  ///< an HTTP response without a length ended
    bool cut_ = false;
};

}  // namespace edgeproof::app::libav
