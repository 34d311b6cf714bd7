#pragma once

#include <memory>
#include <string>

#include "sources/libav/handles.h"
#include "sources/libav/interrupt.h"

namespace edgeproof::app::libav {

/// Bytes that FFmpeg reads from something else than an address.
class Bytes {
  public:
    Bytes();
    Bytes(const Bytes &) = delete;
    Bytes &operator=(const Bytes &) = delete;
    virtual ~Bytes();

    AVIOContext *context() { return context_; }

  protected:
    /// At most `size` bytes; 0 at the end, else a negative AVERROR.
    virtual int read(std::uint8_t *buffer, int size) = 0;

  private:
    static int callback(void *self, std::uint8_t *buffer, int size);

    AVIOContext *context_;
};

/// Standard input or a FIFO, each read within the interrupt's limits. Takes the descriptor.
std::unique_ptr<Bytes> bytes_of(int descriptor, Interrupt &interrupt);

/// The parts of a multipart stream of JPEGs, with the boundary before the first part that ESP32 cameras leave out; null
/// where it is there. FFmpeg then reads on from `inner`. Closes `inner` at the end.
std::unique_ptr<Bytes> with_first_boundary(AVIOContext *inner);

}  // namespace edgeproof::app::libav
