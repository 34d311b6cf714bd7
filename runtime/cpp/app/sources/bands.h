#pragma once

#include <opencv2/core.hpp>
#include <optional>
#include <string>

#include "edgeproof/bundle.h"

namespace edgeproof::app {

/// Channels and dtype of the frames of a contract of color `channels`; the counterpart of
/// `edgeproof_runtime.data.bands.Bands`.
struct Bands {
    int channels = 0;
    FrameDtype dtype = FrameDtype::uint8;
};

/// What a bundle reads; nothing for the other colours, which read colour images.
std::optional<Bands> bands_of(const Bundle &bundle);

/// The frame in a file's bytes (.npy, TIFF with any number of bands, or an image that OpenCV decodes), its channels in
/// the file's order. Throws `Failure` (bad input): damaged, or of other channels or another dtype. The message begins
/// with what is wrong, without the file's name.
cv::Mat decode_bands(const std::string &data, const Bands &bands);

}  // namespace edgeproof::app
