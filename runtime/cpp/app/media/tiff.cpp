// Part of the library edgeproof-media.so: TIFF files with any number of bands. OpenCV gives one band of most.

#include <algorithm>
#include <cstring>
#include <string>

#include "edgeproof/failure.h"
#include "edgeproof/geometry.h"
#include "media/parts.h"

#ifdef EDGEPROOF_TIFF
#include <tiffio.h>
#endif

namespace edgeproof::app {

#ifdef EDGEPROOF_TIFF

namespace {

constexpr std::int64_t max_bytes = std::int64_t{1} << 31;  // decoded; a small file may claim any size

struct Memory {
    const std::string &data;
    toff_t at = 0;
};

tmsize_t read_memory(thandle_t handle, void *to, tmsize_t size) {
    Memory &memory = *static_cast<Memory *>(handle);
    const toff_t left = memory.at < memory.data.size() ? memory.data.size() - memory.at : 0;
    const auto count = static_cast<std::size_t>(std::min<toff_t>(left, static_cast<toff_t>(std::max<tmsize_t>(size, 0))));
    std::memcpy(to, memory.data.data() + std::min<toff_t>(memory.at, memory.data.size()), count);
    memory.at += count;
    return static_cast<tmsize_t>(count);
}

tmsize_t write_memory(thandle_t, void *, tmsize_t) { return 0; }

toff_t seek_memory(thandle_t handle, toff_t offset, int from) {
    Memory &memory = *static_cast<Memory *>(handle);
    memory.at = from == SEEK_SET ? offset : from == SEEK_CUR ? memory.at + offset : memory.data.size() + offset;
    return memory.at;
}

int close_memory(thandle_t) { return 0; }
toff_t size_of_memory(thandle_t handle) { return static_cast<Memory *>(handle)->data.size(); }

/// What describes the pixels of one directory.
struct Layout {
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    std::uint16_t bits = 1;
    std::uint16_t format = SAMPLEFORMAT_UINT;
    std::uint16_t samples = 1;
    std::uint16_t planar = PLANARCONFIG_CONTIG;

    bool operator==(const Layout &other) const {
        return width == other.width && height == other.height && bits == other.bits && format == other.format &&
               samples == other.samples;
    }
};

Layout layout_of(TIFF *tiff) {
    Layout layout;
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &layout.width);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &layout.height);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &layout.bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &layout.format);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &layout.samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &layout.planar);
    return layout;
}

int depth_of(const Layout &layout) {
    if (layout.format == SAMPLEFORMAT_UINT && layout.bits == 8) return CV_8U;
    if (layout.format == SAMPLEFORMAT_UINT && layout.bits == 16) return CV_16U;
    if (layout.format == SAMPLEFORMAT_IEEEFP && layout.bits == 32) return CV_32F;
    throw bad_input("wrong dtype", std::to_string(layout.bits) + " bits of sample format " + std::to_string(layout.format),
                    "uint8, uint16 or float32");
}

[[noreturn]] void damaged() { throw bad_input("is a damaged TIFF file, or compressed in an unsupported way"); }

/// Copy `count` pixels of `samples` samples each into channels [channel, channel + samples) of a row.
void put(const unsigned char *from, int samples, int count, unsigned char *to, std::size_t pixel, std::size_t item) {
    const std::size_t bytes = static_cast<std::size_t>(samples) * item;
    for (int i = 0; i < count; ++i, from += bytes, to += pixel) std::memcpy(to, from, bytes);
}

/// Read one plane (all samples together, or one of them) of the current directory.
void read_plane(TIFF *tiff, const Layout &layout, std::uint16_t sample, int channel, cv::Mat &frame) {
    const int samples = layout.planar == PLANARCONFIG_CONTIG ? layout.samples : 1;
    const std::size_t item = frame.elemSize1();
    const std::size_t at = static_cast<std::size_t>(channel) * item;
    if (TIFFIsTiled(tiff) == 0) {
        std::vector<unsigned char> row(static_cast<std::size_t>(TIFFScanlineSize(tiff)));
        if (row.size() < static_cast<std::size_t>(frame.cols) * static_cast<std::size_t>(samples) * item) damaged();
        for (int y = 0; y < frame.rows; ++y) {
            if (TIFFReadScanline(tiff, row.data(), static_cast<std::uint32_t>(y), sample) != 1) damaged();
            put(row.data(), samples, frame.cols, frame.ptr(y) + at, frame.elemSize(), item);
        }
        return;
    }
    std::uint32_t wide = 0;
    std::uint32_t tall = 0;
    TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &wide);
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &tall);
    const tmsize_t size = TIFFTileSize(tiff);
    const std::size_t pitch = static_cast<std::size_t>(wide) * static_cast<std::size_t>(samples) * item;
    if (wide == 0 || tall == 0 || size <= 0 || size > max_bytes || pitch * tall > static_cast<std::size_t>(size))
        damaged();
    std::vector<unsigned char> tile(static_cast<std::size_t>(size));
    const int step_x = static_cast<int>(std::min<std::uint32_t>(wide, max_frame_side));
    const int step_y = static_cast<int>(std::min<std::uint32_t>(tall, max_frame_side));
    for (int y = 0; y < frame.rows; y += step_y)
        for (int x = 0; x < frame.cols; x += step_x) {
            const auto left = static_cast<std::uint32_t>(x);
            const auto top = static_cast<std::uint32_t>(y);
            if (TIFFReadTile(tiff, tile.data(), left, top, 0, sample) < 0) damaged();
            for (int r = 0; r < std::min(step_y, frame.rows - y); ++r)
                put(tile.data() + static_cast<std::size_t>(r) * pitch, samples, std::min(step_x, frame.cols - x),
                    frame.ptr(y + r, x) + at, frame.elemSize(), item);
        }
}

cv::Mat read_bands(TIFF *tiff) {
    const Layout first = layout_of(tiff);
    const int depth = depth_of(first);
    int pages = 1;  // of the first's form: a band each, or, smaller, only overviews
    while (TIFFReadDirectory(tiff) == 1)
        if (layout_of(tiff) == first && pages <= max_channels) ++pages;
    const int channels = first.samples * pages;
    const std::int64_t bytes = std::int64_t{first.width} * first.height * channels * (first.bits / 8);
    if (first.width < 1 || first.height < 1 || first.width > max_frame_side || first.height > max_frame_side ||
        bytes > max_bytes)
        throw bad_input("is too large", std::to_string(first.width) + "x" + std::to_string(first.height));
    if (channels > max_channels || (first.samples > 1 && pages > 1))
        throw bad_input("is an unsupported TIFF file",
                        std::to_string(pages) + " pages of " + std::to_string(first.samples) + " bands",
                        "one image with its bands");
    cv::Mat frame(static_cast<int>(first.height), static_cast<int>(first.width), CV_MAKETYPE(depth, channels));
    if (TIFFSetDirectory(tiff, 0) != 1) damaged();
    int channel = 0;
    do {
        const Layout layout = layout_of(tiff);
        if (!(layout == first)) continue;
        if (layout.planar == PLANARCONFIG_CONTIG) {
            read_plane(tiff, layout, 0, channel, frame);
        } else {
            for (std::uint16_t s = 0; s < layout.samples; ++s) read_plane(tiff, layout, s, channel + s, frame);
        }
        channel += layout.samples;
    } while (channel < channels && TIFFReadDirectory(tiff) == 1);
    if (channel != channels) damaged();
    return frame;
}

}  // namespace

cv::Mat decode_tiff(const std::string &data) {
    TIFFSetErrorHandler(nullptr);  // what is wrong is thrown
    TIFFSetWarningHandler(nullptr);
    Memory memory{data};
    TIFF *tiff = TIFFClientOpen("file", "rm", &memory, read_memory, write_memory, seek_memory, close_memory,
                                size_of_memory, nullptr, nullptr);
    if (tiff == nullptr) damaged();
    struct Closed {
        TIFF *tiff;
        ~Closed() { TIFFClose(tiff); }
    } closed{tiff};
    return read_bands(tiff);
}

#else

cv::Mat decode_tiff(const std::string &) {
    throw bad_input("cannot be read: this edgeproof-run was built without libtiff", "a TIFF file", ".npy or .png",
                    "build it with libtiff-dev installed, or convert the file to .npy");
}

#endif

}  // namespace edgeproof::app
